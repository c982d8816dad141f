"""What people are told, and how urgent it is: the words that channels, subscriptions and pages share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How urgent; they compare by `rank`, never as text."""

    INFO = "info"
    NOTICE = "notice"
    WARNING = "warning"
    URGENT = "urgent"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Kind(StrEnum):
    """What happened."""

    FILL = "fill"
    BIG_TRADE = "big_trade"
    STOP_MOVED = "stop_moved"
    BREAKER = "breaker"
    SIGN_IN = "sign_in"
    ENGINE_SILENT = "engine_silent"
    STRATEGY = "strategy"
    ERROR = "error"
    SUMMARY = "summary"
    PATTERN = "pattern"
    PRICE_ABOVE = "price_above"
    PRICE_BELOW = "price_below"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class About:
    """What a person reads of a kind: `label`; how urgent it is; the channels it takes until somebody chooses others
    (those of them that are set up); `window_s`: how long the same thing is told only once."""

    label: str
    severity: Severity
    channels: tuple[str, ...]
    window_s: int = 0


_ALL = ("email", "sms", "whatsapp", "slack", "webhook")
_QUIET = ("email", "slack", "webhook")
ABOUT: dict[Kind, About] = {
    Kind.FILL: About("Fills", Severity.INFO, _QUIET),
    Kind.BIG_TRADE: About("Big trades", Severity.NOTICE, _ALL),
    Kind.STOP_MOVED: About("A stop moved", Severity.INFO, _QUIET),
    Kind.BREAKER: About("Circuit breaker and kill switch", Severity.URGENT, _ALL),
    Kind.SIGN_IN: About("Sign-in needed", Severity.WARNING, _ALL, 6 * 3600),
    Kind.ENGINE_SILENT: About("The engine is silent", Severity.URGENT, _ALL),
    Kind.STRATEGY: About("A strategy paused or changed", Severity.WARNING, _QUIET),
    Kind.ERROR: About("Errors", Severity.WARNING, ("slack",), 3600),
    Kind.SUMMARY: About("Daily summary", Severity.INFO, ("email",)),
    Kind.PATTERN: About("A pattern was found", Severity.NOTICE, _ALL),
    Kind.PRICE_ABOVE: About("A price rose to a level", Severity.NOTICE, _ALL, 900),
    Kind.PRICE_BELOW: About("A price fell to a level", Severity.NOTICE, _ALL, 900),
    Kind.TEST: About("A test", Severity.INFO, ()),
}
# What somebody must ask for by a subscription: nobody is told of it otherwise.
ASKED_FOR = frozenset({Kind.PATTERN, Kind.PRICE_ABOVE, Kind.PRICE_BELOW})
# What follows a closed bar of one symbol.
OF_BARS = ASKED_FOR
# What a ledger tells of one symbol.
OF_SYMBOLS = frozenset({Kind.FILL, Kind.BIG_TRADE, Kind.STOP_MOVED})
