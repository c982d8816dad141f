"""Research: what the numbers say, and how far they can be believed."""
