"""Where candles and quotes come from: one file a source, all behind `base.Feed`."""
