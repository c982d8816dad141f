"""Speed beside peers, in one run on one machine: `python -m benchmarks [names] [--quick]` writes RESULTS.md.

No figure is ever asserted: each measurement stands beside its peer's, as a ratio, with the goal beside it.
"""
