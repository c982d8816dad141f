"""What the owner chose about being told: which channel for what, when to be left in peace, how much is too much.

Rules.of(people.preference("notices", {}))        kept as JSON with the owner's other choices
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from domain import registry
from domain.errors import DeskError, UnknownName
from domain.notices import ABOUT, Kind, Severity

PREFERENCE = "notices"
NEW_YORK = "America/New_York"
MOST_PER_HOUR = 100_000


@dataclass(frozen=True, slots=True)
class Quiet:
    """Hours in which only what is at least as urgent as `passes` goes out; the rest waits for their end. They may span
    midnight; a start that is the end is none. `channels`: those that keep them, empty for all."""

    start: time
    end: time
    zone: str = NEW_YORK
    passes: Severity = Severity.URGENT
    channels: tuple[str, ...] = ()

    def holds(self, channel: str, severity: Severity) -> bool:
        return (not self.channels or channel in self.channels) and severity.rank < self.passes.rank

    def ends(self, now: datetime) -> datetime | None:
        """When the hours that `now` lies in are over; None where it lies in none."""
        here = now.astimezone(ZoneInfo(self.zone))
        inside = (
            self.start <= here.time() < self.end
            if self.start < self.end
            else self.start != self.end and not self.end <= here.time() < self.start
        )
        if not inside:
            return None
        day = here.date() if here.time() < self.end else here.date() + timedelta(days=1)
        return datetime.combine(day, self.end, ZoneInfo(self.zone)).astimezone(now.tzinfo)


@dataclass(frozen=True, slots=True)
class Rules:
    """`off`: channels that are switched off. `routes`: the channels of a kind where somebody chose them, () for none;
    the others go as `domain.notices.ABOUT` says. `least`: a channel's least severity. `per_hour`: how many an hour a
    channel sends, 0 for any number. A trade worth `big_trade` or more is a big one. `summary_at`: New York time."""

    off: frozenset[str] = frozenset()
    routes: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    least: Mapping[str, Severity] = field(default_factory=dict)
    per_hour: Mapping[str, int] = field(default_factory=dict)
    quiet: Quiet | None = None
    big_trade: Decimal = Decimal(10_000)
    summary_at: time = time(16, 30)

    def channels(self, kind: Kind) -> tuple[str, ...]:
        """Where a kind goes, set up or not."""
        return self.routes.get(kind, ABOUT[kind].channels)

    def held_until(self, channel: str, severity: Severity, now: datetime) -> datetime | None:
        """When the quiet hours let it go; None where they do not hold it."""
        if self.quiet is None or not self.quiet.holds(channel, severity):
            return None
        return self.quiet.ends(now)

    def too_mild(self, channel: str, severity: Severity) -> bool:
        return severity.rank < self.least.get(channel, Severity.INFO).rank

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        quiet = self.quiet
        return {
            "off": sorted(self.off),
            "routes": {kind.value: list(names) for kind, names in self.routes.items()},
            "least": {name: severity.value for name, severity in self.least.items()},
            "per_hour": dict(self.per_hour),
            "quiet": quiet
            and {
                "start": f"{quiet.start:%H:%M}",
                "end": f"{quiet.end:%H:%M}",
                "zone": quiet.zone,
                "passes": quiet.passes.value,
                "channels": list(quiet.channels),
            },
            "big_trade": f"{self.big_trade:f}",
            "summary_at": f"{self.summary_at:%H:%M}",
        }

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> Rules:
        """What `to_dict` gave, or part of it; DeskError names what is wrong and how it is written."""
        told = dict(told or {})
        known = {"off", "routes", "least", "per_hour", "quiet", "big_trade", "summary_at"}
        if unknown := sorted(told.keys() - known):
            raise UnknownName.of("rule", unknown[0], known)
        return cls(
            off=frozenset(_channels(told.get("off", ()))),
            routes={_kind(kind): _channels(names) for kind, names in told.get("routes", {}).items()},
            least={_channel(name): _severity(value) for name, value in told.get("least", {}).items()},
            per_hour={_channel(name): _count(name, value) for name, value in told.get("per_hour", {}).items()},
            quiet=_quiet(told.get("quiet")),
            big_trade=_amount(told.get("big_trade", "10000")),
            summary_at=_hour(told.get("summary_at", "16:30")),
        )


def _channel(name: str) -> str:
    registry.check_name("alerts", name)
    return name


def _channels(names: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_channel(name) for name in names))


def _kind(name: str) -> Kind:
    if name not in [kind.value for kind in Kind]:
        raise UnknownName.of("kind of notice", name, [kind.value for kind in Kind])
    return Kind(name)


def _severity(name: str) -> Severity:
    if name not in [severity.value for severity in Severity]:
        raise UnknownName.of("severity", str(name), [severity.value for severity in Severity])
    return Severity(name)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_PER_HOUR:
        raise DeskError(f"{name}: messages an hour are 0 (any number) to {MOST_PER_HOUR}: got {value!r}")
    return value


def _hour(text: Any) -> time:
    if not re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9]", str(text)):
        raise DeskError(f"a time of day is written 22:00: got {text!r}")
    return time.fromisoformat(f"{text:0>5}")


def _amount(value: Any) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("nan")
    if not (found.is_finite() and found > 0):
        raise DeskError(f"a big trade is an amount above zero, such as 10000: got {value!r}")
    return found


def _quiet(told: Any) -> Quiet | None:
    if not told:
        return None
    try:
        zone = ZoneInfo(told.get("zone", NEW_YORK)).key
    except (KeyError, ValueError, OSError):
        raise DeskError(f"no time zone is called {told.get('zone')!r}: write Europe/Berlin, for one") from None
    return Quiet(
        _hour(told.get("start")),
        _hour(told.get("end")),
        zone,
        _severity(told.get("passes", Severity.URGENT.value)),
        _channels(told.get("channels", ())),
    )
