"""What people are told: found out, written down, sent. `notifier.py` puts it together."""
