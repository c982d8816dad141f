"""Filters: a signal in, a verdict and its reason out. One file is one filter; `docs/filters.md` shows how."""
