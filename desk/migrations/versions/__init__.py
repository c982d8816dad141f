"""The revisions of a ledger, oldest first."""
