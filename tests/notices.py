"""Notices to test with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from domain.notices import Kind, Severity
from notices.outbox import Notice

AT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)


def notice(name: str = "1", channel: str = "webhook", address: str = "", **changed: Any) -> Notice:
    """A fill told to the owner."""
    given = {"kind": Kind.FILL, "severity": Severity.INFO, "title": f"Fill {name}", "text": "", "at": AT}
    return Notice(f"n:{name}", **{**given, "person": "owner", "to": ((channel, address, None),), **changed})
