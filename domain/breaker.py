"""The circuit breaker: it latches when a day has lost too much and stays latched until a person resets it.

A pure fold over equity marks: keep what `mark` returns, store it with `to_dict`, start again from `from_dict`.
Whatever cannot be trusted (equity that is not a number, a stored state that cannot be read) latches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

NEVER = date(1970, 1, 1)
MOST = Decimal(10) ** 15


@dataclass(frozen=True, slots=True)
class Breaker:
    """`start_equity` is where the exchange's `day` began: the last equity known before it, so that a gap overnight
    counts; None until the first mark. `limit_pct` of it lost latches. `zone` is where the exchange's day is read.

    `Breaker().mark(Decimal(100_000), morning).mark(Decimal(97_000), noon).latched` is True.
    """

    day: date = NEVER
    start_equity: Decimal | None = None
    latched: bool = False
    reason: str = ""
    limit_pct: Decimal = Decimal(3)
    zone: str = "America/New_York"
    last_equity: Decimal | None = None

    def __post_init__(self) -> None:
        if not (_is_money(self.limit_pct) and self.limit_pct <= 100):
            raise ValueError(f"limit_pct must be a Decimal above 0 and at most 100: got {self.limit_pct!r}")
        _zone(self.zone)

    def mark(self, equity: Decimal, now: datetime) -> Breaker:
        """The breaker after the account was worth `equity` at `now`. It never raises: what is wrong latches."""
        if not _is_money(equity):
            return self._latch(f"equity must be a finite amount above zero: got {equity!r}")
        if not _is_moment(now):
            return self._latch(f"a mark's time must carry a zone: got {now!r}")
        today = replace(self._on(now.astimezone(_zone(self.zone)).date(), equity), last_equity=equity)
        return today if today._holds(equity) else today._latch(today._loss_in_words(equity))

    def reset(self, by: str, reason: str, now: datetime) -> Breaker:
        """Unlatched by a person who says why: the loss counts from the last known equity on, so that the same loss
        does not latch it again at once."""
        if not (isinstance(by, str) and by.strip() and isinstance(reason, str) and reason.strip()):
            raise ValueError("a reset must name who resets the breaker and why")
        if not _is_moment(now):
            raise ValueError(f"a reset's time must carry a zone: got {now!r}")
        day = max(self.day, now.astimezone(_zone(self.zone)).date())
        words = f"reset by {by.strip()} at {now.isoformat(timespec='seconds')}: {reason.strip()}"
        return replace(self, day=day, start_equity=self.last_equity, latched=False, reason=words)

    def with_limit(self, limit_pct: float | Decimal) -> Breaker:
        """The same breaker under another limit; a latched one stays latched."""
        return replace(self, limit_pct=Decimal(str(limit_pct)))

    def loss_pct(self) -> Decimal | None:
        """The day's loss in % at the last mark, below zero for a gain; None before the first."""
        if self.start_equity is None or self.last_equity is None:
            return None
        return 100 * (self.start_equity - self.last_equity) / self.start_equity

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "day": self.day.isoformat(),
            "start_equity": _text(self.start_equity),
            "latched": self.latched,
            "reason": self.reason,
            "limit_pct": str(self.limit_pct),
            "zone": self.zone,
            "last_equity": _text(self.last_equity),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Breaker:
        """What `to_dict` stored; a latched breaker where that cannot be read."""
        try:
            return cls._read(stored)
        except Exception as error:  # noqa: BLE001 - a breaker nobody can read has tripped, whatever broke it
            return cls(latched=True, reason=f"its stored state cannot be read ({error!r}); reset it to start anew")

    @classmethod
    def _read(cls, stored: Mapping[str, Any]) -> Breaker:
        latched, reason = stored["latched"], stored["reason"]
        if not (isinstance(latched, bool) and isinstance(reason, str)):
            raise ValueError(f"latched must be true or false and reason a text: got {latched!r} and {reason!r}")
        return cls(
            day=date.fromisoformat(stored["day"]),
            start_equity=_money(stored["start_equity"]),
            latched=latched,
            reason=reason,
            limit_pct=_decimal(stored["limit_pct"]),
            zone=stored["zone"],
            last_equity=_money(stored["last_equity"]),
        )

    def _on(self, day: date, equity: Decimal) -> Breaker:
        """The breaker on `day`; a clock that went back changes nothing."""
        if self.start_equity is not None and day <= self.day:
            return self
        return replace(self, day=max(day, self.day), start_equity=self.last_equity or equity)

    def _holds(self, equity: Decimal) -> bool:
        start = self.start_equity
        return start is not None and 100 * (start - equity) < self.limit_pct * start

    def _loss_in_words(self, equity: Decimal) -> str:
        return f"{self.day}: equity fell from {self.start_equity} to {equity}, the limit is {self.limit_pct} % a day"

    def _latch(self, reason: str) -> Breaker:
        """Latched; the first reason stays, it is the one a person must judge."""
        return self if self.latched else replace(self, latched=True, reason=reason)


def _is_money(value: object) -> bool:
    return isinstance(value, Decimal) and value.is_finite() and 0 < value <= MOST


def _is_moment(value: object) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None and NEVER.year < value.year < 9999


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _money(text: str | None) -> Decimal | None:
    if text is None:
        return None
    if not _is_money(money := _decimal(text)):
        raise ValueError(f"equity must be a finite amount above zero: got {text!r}")
    return money


def _decimal(text: object) -> Decimal:
    if not isinstance(text, str):
        raise ValueError(f"an amount is stored as text: got {text!r}")
    return Decimal(text)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError):
        raise ValueError(f"zone must be a time zone's name, such as America/New_York: got {name!r}") from None
