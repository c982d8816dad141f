"""Strategies: closed candles in, wanted exposure out. One file is one strategy; `docs/strategies.md` shows how."""
