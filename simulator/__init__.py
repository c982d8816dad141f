"""A stateful E*TRADE on one's own machine: it signs people in, takes orders and fills them, and can be told to fail."""
