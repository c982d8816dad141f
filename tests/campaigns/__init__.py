"""Long runs that try to prove the rules wrong: `make prove`. What they found is written to docs/evidence/."""
