"""Alerts: E*TRADE's own messages, a second sign of a fill and never the first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from etrade.errors import plain
from etrade.fields import Fields


@dataclass(frozen=True, slots=True)
class Alert:
    """`status` is READ, UNREAD or DELETED."""

    id: int
    created: datetime
    subject: str
    status: str


@dataclass(frozen=True, slots=True)
class AlertDetails:
    """An alert with its text: one line, its tags and numbers of accounts taken out."""

    id: int
    created: datetime
    subject: str
    symbol: str
    text: str = field(repr=False)
    read: datetime | None = None
    deleted: datetime | None = None


@dataclass(frozen=True, slots=True)
class Deleted:
    """`failed` names the alerts that are still there."""

    failed: tuple[int, ...]

    @property
    def all(self) -> bool:
        return not self.failed


def read_alerts(body: Fields) -> tuple[Alert, ...]:
    none = body.whole("totalAlerts") == 0
    rows = body.many("Alert") if none else body.need_many("Alert")
    return tuple(
        Alert(row.need_id("id"), row.need_time("createTime"), row.need_text("subject"), row.text("status"))
        for row in rows
    )


def read_alert(body: Fields) -> AlertDetails:
    return AlertDetails(
        id=body.need_id("id"),
        created=body.need_time("createTime"),
        subject=body.need_text("subject"),
        symbol=body.text("symbol"),
        text=plain(body.text("msgText")),
        read=body.time("readTime"),
        deleted=body.time("deleteTime"),
    )


def read_deleted(body: Fields) -> Deleted:
    """SUCCESS, or ERROR with the names of those that failed; ERROR without names is a fault."""
    word = body.need_text("result")
    failed = tuple(body.child("FailedAlerts").numbers("alertId"))
    if word not in ("SUCCESS", "ERROR") or (word == "ERROR" and not failed):
        body.faults.append("result is neither SUCCESS nor an ERROR with names")
    return Deleted(failed)
