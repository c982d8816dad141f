"""Where orders go: one file a broker, all behind the port of `base`."""
