"""The newest price of an instrument, and the bar that is still forming around it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
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
    tells it, else None; `volume` is the day's so far; `source` is the feed's name."""

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
