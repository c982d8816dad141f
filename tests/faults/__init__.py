"""What goes wrong on purpose, and what must be true all the same: for the state machine and the crash campaign."""
