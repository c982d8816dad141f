"""What can be traded: a symbol with its venue, steps and calendar.

A symbol is checked here, once, at the border: it later names files and goes into addresses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from domain.calendars import ALWAYS, TradingCalendar, calendar
from domain.errors import DataError

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.\-]{0,14}")
_CRYPTO = re.compile(r"([A-Z0-9]{2,8})[/\-]?(USDT)")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One thing to trade. `tick` is the price step, `lot` the quantity step, `min_notional` the smallest order."""

    symbol: str
    venue: str = "US"
    currency: str = "USD"
    tick: Decimal = Decimal("0.01")
    lot: Decimal = Decimal(1)
    min_notional: Decimal = Decimal(0)
    calendar_code: str = "XNYS"
    name: str = ""
    sector: str = ""

    @property
    def calendar(self) -> TradingCalendar:
        return calendar(self.calendar_code)

    @property
    def is_crypto(self) -> bool:
        return self.calendar_code == ALWAYS

    @property
    def zone(self) -> str:
        """The zone its day is read in: New York for stocks, UTC for crypto."""
        return "UTC" if self.is_crypto else "America/New_York"

    @property
    def decimals(self) -> int:
        """How many decimals a price is written with."""
        return max(0, -int(self.tick.normalize().as_tuple().exponent))

    def round_price(self, price: Decimal) -> Decimal:
        """To the nearest tick."""
        return (price / self.tick).quantize(Decimal(1), ROUND_HALF_EVEN) * self.tick

    def round_quantity(self, quantity: Decimal) -> Decimal:
        """Down to a whole lot: never more than was wished for."""
        return (quantity / self.lot).quantize(Decimal(1), ROUND_DOWN) * self.lot


def instrument(symbol: str) -> Instrument:
    """The instrument behind a symbol as people write it (`aapl`, `BTC/USDT`); DataError where it cannot be one.

    A symbol nobody listed is taken for a US stock: whether it exists is the feed's to say.
    """
    text = symbol.strip().upper() if isinstance(symbol, str) else ""
    if crypto := _CRYPTO.fullmatch(text):
        text = crypto[1] + crypto[2]
        return KNOWN.get(text) or _crypto(text, crypto[1], "0.01", "0.0001")
    if not _SYMBOL.fullmatch(text):
        raise DataError(
            f"symbol {symbol!r}: a symbol is up to 15 letters, digits, dots or dashes, such as AAPL or BRK.B"
        )
    return KNOWN.get(text) or Instrument(text)


def search(text: str, extra: tuple[str, ...] = ()) -> list[Instrument]:
    """Known instruments (and the symbols in `extra`) whose symbol or name holds `text`; symbols that begin so first."""
    wanted = text.strip().upper()
    pool = {**KNOWN, **{s: instrument(s) for s in extra}}
    hits = [i for i in pool.values() if wanted in i.symbol or wanted in i.name.upper()]
    return sorted(hits, key=lambda i: (not i.symbol.startswith(wanted), i.symbol))


def _stock(symbol: str, name: str, sector: str) -> Instrument:
    return Instrument(symbol, name=name, sector=sector)


def _crypto(symbol: str, name: str, tick: str, lot: str) -> Instrument:
    return Instrument(
        symbol,
        venue="CRYPTO",
        currency="USDT",
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_notional=Decimal(5),
        calendar_code=ALWAYS,
        name=name,
        sector="crypto",
    )


_LISTED = (
    _stock("AAPL", "Apple", "technology"),
    _stock("MSFT", "Microsoft", "technology"),
    _stock("NVDA", "NVIDIA", "semiconductors"),
    _stock("AMD", "Advanced Micro Devices", "semiconductors"),
    _stock("AMZN", "Amazon", "consumer"),
    _stock("GOOG", "Alphabet", "communication"),
    _stock("META", "Meta Platforms", "communication"),
    _stock("TSLA", "Tesla", "consumer"),
    _stock("NFLX", "Netflix", "communication"),
    _stock("AVGO", "Broadcom", "semiconductors"),
    _stock("INTC", "Intel", "semiconductors"),
    _stock("MU", "Micron Technology", "semiconductors"),
    _stock("CRM", "Salesforce", "technology"),
    _stock("ORCL", "Oracle", "technology"),
    _stock("JPM", "JPMorgan Chase", "financials"),
    _stock("BAC", "Bank of America", "financials"),
    _stock("V", "Visa", "financials"),
    _stock("WMT", "Walmart", "staples"),
    _stock("COST", "Costco", "staples"),
    _stock("KO", "Coca-Cola", "staples"),
    _stock("DIS", "Walt Disney", "communication"),
    _stock("BA", "Boeing", "defense"),
    _stock("XOM", "Exxon Mobil", "energy"),
    _stock("CVX", "Chevron", "energy"),
    _stock("RTX", "RTX", "defense"),
    _stock("LMT", "Lockheed Martin", "defense"),
    _stock("SPY", "SPDR S&P 500 ETF", "index"),
    _stock("QQQ", "Invesco QQQ Trust", "index"),
    _stock("IWM", "iShares Russell 2000 ETF", "index"),
    _stock("GLD", "SPDR Gold Shares", "gold"),
    _stock("USO", "United States Oil Fund", "energy"),
    _crypto("BTCUSDT", "Bitcoin", "0.01", "0.00001"),
    _crypto("ETHUSDT", "Ether", "0.01", "0.0001"),
    _crypto("BNBUSDT", "BNB", "0.01", "0.001"),
    _crypto("ADAUSDT", "Cardano", "0.0001", "0.1"),
)
KNOWN: dict[str, Instrument] = {i.symbol: i for i in _LISTED}
