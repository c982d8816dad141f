"""Streams: a strategy driven bar by bar, at a cost that does not grow with its history. `docs/streaming.md`."""
