"""Learning from candles: features, labels, windows, splits, networks, and scores beside plain baselines."""
