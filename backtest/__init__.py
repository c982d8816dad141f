"""The rooms behind `backtester.py`: a run's rules, its arithmetic, the compiled pass, the plain one, the result."""
