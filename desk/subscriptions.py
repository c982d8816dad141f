"""What somebody wants to be told of: "a Hammer with an edge above the base rate on NVDA 15m, by email".

A subscription checks itself: one that exists can be watched. `desk.people` keeps them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import patterns
from domain import registry
from domain.candles import timeframe
from domain.errors import DeskError, UnknownName
from domain.instruments import instrument
from domain.notices import ABOUT, OF_BARS, OF_SYMBOLS, Kind

PRICES = (Kind.PRICE_ABOVE, Kind.PRICE_BELOW)
MOST_SUBSCRIPTIONS = 200
MOST_EDGE_BPS = 10_000.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """One wish. What has no meaning for its kind is left at its default; `check` says otherwise.

    symbol            '' for whatever the desk tells of no symbol or of any
    level             the price, of price_above and price_below
    pattern           as `patterns.detect` knows it; timeframe: the bars that are watched
    least_edge_bps    told only where the pattern's edge above the base rate is more, in ten-thousandths; None: always
    least_confidence  told only where the edge is real with at least this probability, 0 to 1 (1 - its p-value)
    channels          where to; empty: wherever the kind goes
    """

    person: str
    kind: Kind
    symbol: str = ""
    level: Decimal | None = None
    pattern: str = ""
    timeframe: str = ""
    least_edge_bps: float | None = None
    least_confidence: float = 0.0
    channels: tuple[str, ...] = ()
    on: bool = True
    id: int = 0
    made: datetime | None = None

    @property
    def words(self) -> str:
        """The wish as a person says it."""
        if self.kind is Kind.PATTERN:
            wanted = [f"with an edge of more than {self.least_edge_bps:g} bps"] if self.least_edge_bps else []
            wanted = ["with an edge above the base rate"] if self.least_edge_bps == 0 else wanted
            wanted += [f"that is real with {self.least_confidence:.0%}"] if self.least_confidence else []
            return " ".join([self.pattern, *wanted, "on", self.symbol, self.timeframe])
        if self.kind in PRICES:
            way = "rises to" if self.kind is Kind.PRICE_ABOVE else "falls to"
            return f"{self.symbol} {way} {self.level:f} ({self.timeframe} bars)"
        return f"{ABOUT[self.kind].label}{f' in {self.symbol}' if self.symbol else ''}"

    @property
    def judged(self) -> bool:
        """Whether the pattern's past is asked first."""
        return self.least_edge_bps is not None or self.least_confidence > 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        told = asdict(self) | {"kind": self.kind.value, "channels": list(self.channels)}
        return told | {
            "level": None if self.level is None else f"{self.level:f}",
            "made": None if self.made is None else self.made.isoformat(),
        }


def wish(
    person: str,
    kind: str,
    *,
    symbol: str = "",
    level: object = None,
    pattern: str = "",
    timeframe: str = "",
    least_edge_bps: float | None = None,
    least_confidence: float = 0.0,
    channels: Iterable[str] = (),
    on: bool = True,
) -> Subscription:
    """A subscription from what was typed, every value in its one spelling. DeskError (UnknownName with the nearest, or
    DataError for a symbol) names what is wrong and how it is written."""
    known = _kind(kind)
    return Subscription(
        person=_person(person),
        kind=known,
        symbol=_symbol(symbol, known),
        level=_level(level, known),
        pattern=_pattern(pattern, known),
        timeframe=_timeframe(timeframe, known),
        least_edge_bps=_edge(least_edge_bps, known),
        least_confidence=_confidence(least_confidence, known),
        channels=_channels(channels),
        on=bool(on),
    )


def _person(person: str) -> str:
    if not isinstance(person, str) or not person.strip():
        raise DeskError("a subscription must name whose it is")
    return person


def _kind(kind: str) -> Kind:
    choices = [k.value for k in Kind if k is not Kind.TEST]
    if kind not in choices:
        raise UnknownName.of("kind of notice", str(kind), choices)
    return Kind(kind)


def _symbol(symbol: str, kind: Kind) -> str:
    if kind in OF_BARS and not symbol.strip():
        raise DeskError(f"{ABOUT[kind].label}: choose a symbol, such as NVDA")
    if symbol.strip() and kind not in OF_BARS | OF_SYMBOLS:
        raise DeskError(f"{ABOUT[kind].label} concerns the whole desk: leave the symbol empty")
    return instrument(symbol).symbol if symbol.strip() else ""


def _level(level: object, kind: Kind) -> Decimal | None:
    if kind not in PRICES:
        if level not in (None, ""):
            raise DeskError(f"{ABOUT[kind].label} takes no price level: got {level}")
        return None
    try:
        found = Decimal(str(level).strip())
    except InvalidOperation:
        raise DeskError(f"a price level is a number such as 187.50: got {level!r}") from None
    if not (found.is_finite() and 0 < found <= 10**9):
        raise DeskError(f"a price level must be above zero and at most 1,000,000,000: got {level}")
    return found


def _pattern(pattern: str, kind: Kind) -> str:
    if kind is not Kind.PATTERN:
        if pattern:
            raise DeskError(f"{ABOUT[kind].label} takes no pattern: got {pattern!r}")
        return ""
    if not pattern.strip():
        raise DeskError("choose a pattern, such as Hammer")
    return _label(pattern)


def _label(pattern: str) -> str:
    """The catalogue's spelling; a spelling of ours that it knows stays."""
    patterns.signs(pattern)
    plain = "".join(letter for letter in pattern.lower() if letter.isalnum())
    labels = {"".join(c for c in label.lower() if c.isalnum()): label for label in patterns.CandlestickPatterns.names()}
    return labels.get(plain, pattern.strip())


def _timeframe(name: str, kind: Kind) -> str:
    if kind not in OF_BARS:
        if name:
            raise DeskError(f"{ABOUT[kind].label} takes no timeframe: got {name!r}")
        return ""
    if not name and kind is Kind.PATTERN:
        raise DeskError("choose the timeframe whose bars are watched, such as 15m")
    return timeframe(name or "1m").name


def _edge(edge: float | None, kind: Kind) -> float | None:
    if edge is None:
        return None
    if kind is not Kind.PATTERN:
        raise DeskError(f"{ABOUT[kind].label} has no edge: leave it empty")
    if isinstance(edge, bool) or not isinstance(edge, int | float) or not 0 <= edge <= MOST_EDGE_BPS:
        raise DeskError(f"an edge is 0 to {MOST_EDGE_BPS:g} ten-thousandths above the base rate: got {edge}")
    return float(edge)


def _confidence(confidence: float, kind: Kind) -> float:
    if not confidence:
        return 0.0
    if kind is not Kind.PATTERN:
        raise DeskError(f"{ABOUT[kind].label} has no confidence: leave it at 0")
    if not isinstance(confidence, int | float) or math.isnan(confidence) or not 0 <= confidence < 1:
        raise DeskError(f"a confidence is 0 to below 1, such as 0.9: got {confidence}")
    return float(confidence)


def _channels(channels: Iterable[str]) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(channels))
    for name in chosen:
        registry.check_name("alerts", name)
    return chosen
