"""Strategies with a known fault, each of which a verdict must name, and clean ones, which it must not fail."""
