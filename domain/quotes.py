"""The newest price of an instrument, and the bar that is still forming around it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar as numbers; `time` is its open, UTC."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float

    def with_price(self, price: float, volume: float | None = None) -> Bar:
        """The same bar after a trade at `price`."""
        return replace(
            self,
            high=max(self.high, price),
            low=min(self.low, price),
            close=price,
            volume=self.volume if volume is None else volume,
        )

    def merge(self, later: Bar) -> Bar:
        """This bar and the one that follows, as one."""
        return Bar(
            self.time,
            self.open,
            max(self.high, later.high),
            min(self.low, later.low),
            later.close,
            self.volume + later.volume,
        )


@dataclass(frozen=True, slots=True)
class Quote:
    """What a venue says now. `time` is the venue's own (UTC); `minute` is the forming one-minute bar where the venue
    tells it, else None; `volume` is the day's so far; `source` is the feed's name.

    halted          whether trading is halted; None where the source does not tell
    traded          when it last traded; None where the source does not tell
    earnings        the day of the next report, None where none is known; `tells_earnings` whether the source names them
    """

    symbol: str
    time: datetime
    last: Decimal
    source: str
    bid: Decimal | None = None
    ask: Decimal | None = None
    volume: float = 0.0
    previous_close: Decimal | None = None
    delayed_s: int = 0
    minute: Bar | None = None
    halted: bool | None = None
    traded: datetime | None = None
    earnings: date | None = None
    tells_earnings: bool = False

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise ValueError(f"{self.symbol}: a quote's time must carry a zone: got {self.time.isoformat()}")
        for label, price in (("last", self.last), ("bid", self.bid), ("ask", self.ask)):
            if price is not None and not (price.is_finite() and price > 0):
                raise ValueError(f"{self.symbol}: a quote's {label} must be a positive number: got {price}")

    @property
    def change(self) -> Decimal | None:
        """Since the previous regular close, as a fraction."""
        return self.last / self.previous_close - 1 if self.previous_close else None

    def to_text(self) -> str:
        """As JSON, for another process; without the minute that forms."""
        amounts = {name: _plain(getattr(self, name)) for name in ("last", "bid", "ask", "previous_close")}
        more = {"time": self.time.isoformat(), "volume": self.volume, "delayed_s": self.delayed_s}
        events = {
            "halted": self.halted,
            "traded": self.traded and self.traded.isoformat(),
            "earnings": self.earnings and self.earnings.isoformat(),
            "tells_earnings": self.tells_earnings,
        }
        return json.dumps({**amounts, **more, **events, "source": self.source})

    @classmethod
    def from_text(cls, symbol: str, body: str) -> Quote:
        """What `to_text` wrote, an earlier version's too; ValueError or KeyError for anything else."""
        told = json.loads(body)
        traded, earnings = told.get("traded"), told.get("earnings")
        return cls(
            symbol,
            datetime.fromisoformat(told["time"]),
            Decimal(told["last"]),
            told["source"],
            bid=_amount(told["bid"]),
            ask=_amount(told["ask"]),
            volume=told["volume"],
            previous_close=_amount(told["previous_close"]),
            delayed_s=told["delayed_s"],
            halted=told.get("halted"),
            traded=datetime.fromisoformat(traded) if traded else None,
            earnings=date.fromisoformat(earnings) if earnings else None,
            tells_earnings=told.get("tells_earnings", False),
        )


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
