"""A desk's ledger, older by the year, in a process of its own: how large it is, how soon it opens, and its Bot page.

python -m benchmarks.scaling_years FOLDER YEARS...      each of them on top of the one before; JSON on the last line
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

SYMBOLS = ("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "JPM", "KO", "XOM", "SPY")
ORDERS_A_SESSION = 2
ENDS = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
MONTH = timedelta(days=30)
SETTINGS = {"DATA_SOURCE": "simulated", "SIMULATED_START": "2026-11-20T10:30"}
AGAIN = 3


def measured(folder: Path, years: list[int]) -> list[dict[str, Any]]:
    """Each number of years."""
    os.environ |= SETTINGS | {"DATA_DIR": str(folder)}
    import backtest  # noqa: F401 - before a page of the same name is run
    from domain.clock import ManualClock
    from tests.toy_engine import ToyEngine

    clock, found = ManualClock(ENDS), []
    desk = ToyEngine(folder, clock)
    one = _adopted(desk, years[-1])
    written = 0
    for wanted in years:
        _write(desk, clock, one, ENDS - timedelta(days=365 * wanted), ENDS - timedelta(days=365 * written))
        written, clock.time = wanted, ENDS
        desk.beat()
        desk.ledger.database.engine.dispose()
        found.append({"years": wanted, **_look(folder, one)})
    return found


def _adopted(desk: Any, years: int) -> Any:
    from backtest.setup import Exit, Setup
    from desk.adoptions import Adoption, State, keep

    since = ENDS - timedelta(days=365 * years + 1)
    setup = Setup(cash=50_000.0, stop=Exit("atr", 2.0))
    one = Adoption("s-1", "main", "sma_crossover", {"fast": 5, "slow": 15}, SYMBOLS, "1h", setup, "owner", since)
    desk.clock.time = since
    with desk.ledger.write(desk.epoch) as write:
        keep(write, one, State.WORKING, reason="adopted", actor="owner")
    return one


# What a year leaves behind


def _write(desk: Any, clock: Any, one: Any, first: datetime, end: datetime) -> None:
    """Every hour's decision on each symbol, the minute's equity, and some trades a session, month by month."""
    from desk import schema

    while first < end:
        until = min(first + MONTH, end)
        clock.time = until
        with desk.ledger.write(desk.epoch) as write:
            opens = _opens(first, until, "1h")
            for symbol in SYMBOLS:
                rows = [_decision(one, symbol, at) for at in opens]
                write._db.execute(sa.insert(schema.bar_decision), rows)
            minutes = [_point(number, at) for number, at in enumerate(_opens(first, until, "1m"))]
            write._db.execute(sa.insert(schema.equity), minutes)
            for at in _opens(first, until, "1d"):
                for number in range(ORDERS_A_SESSION):
                    _order(write, one, at + timedelta(minutes=number), number % 2 == 0)
        first = until


def _opens(first: datetime, end: datetime, tf: str) -> list[datetime]:
    from domain import candles as cd
    from domain.instruments import instrument

    found = cd.expected(first, end, cd.timeframe(tf), instrument("AAPL"))
    return [datetime.fromtimestamp(int(at) / 1e9, tz=UTC) for at in found]


def _decision(one: Any, symbol: str, at: datetime) -> dict[str, Any]:
    none = Decimal(0)
    said = "Wants +1, as before. SMA 5 at 229.41 is above SMA 15 at 228.07."
    values = {"adoption": one.id, "symbol": symbol, "bar_time": at, "exposure": 1.0, "done": "as before", "said": said}
    return values | {"held": none, "wanted": none, "signal_id": "", "at": at + timedelta(hours=1)}


def _point(number: int, at: datetime) -> dict[str, Any]:
    equity = Decimal(100_000 + number % 977) + Decimal("0.25")
    return {"account": "main", "at": at, "cash": Decimal("61234.50"), "equity": equity}


def _order(write: Any, one: Any, at: datetime, buys: bool) -> None:
    from desk.records import Attempt, Decision
    from domain.orders import Fill, Order, OrderRequest, Purpose, Side, Status
    from domain.signals import Signal
    from tests.toy_engine import verdicts

    symbol = SYMBOLS[at.day % len(SYMBOLS)]
    side, name = (Side.BUY if buys else Side.SELL), f"o-{at:%Y%m%d%H%M}"
    signal = Signal(symbol, at, 1.0 if buys else 0.0, 0.6, one.source, "SMA 5 is above SMA 15")
    write.add_signal(signal)
    purpose = Purpose.ENTRY if buys else Purpose.EXIT
    request = OrderRequest("main", symbol, side, Decimal(10), purpose=purpose, signal_id=signal.id)
    order = Order(name, request, Status.NEW, at, at)
    write.add_order(order, Decision(True, verdicts(), {}, {"symbol": symbol}))
    write.add_attempt(Attempt(name, 1, name, at, "", []))
    order = write.move(order, Status.SENDING)
    write.add_outcome(name, "taken", broker_order_id=name)
    order = write.move(order, Status.WORKING, broker_id=name)
    price = Decimal("229.40") if buys else Decimal("229.90")
    write.add_fill(Fill(f"f-{name}", name, "main", symbol, side, Decimal(10), price, at, Decimal(1)))
    write.move(write.order(name), Status.FILLED)


# What it costs


def _look(folder: Path, one: Any) -> dict[str, Any]:
    from desk.ledger import Ledger
    from desk.own_trades import OwnTrades
    from desk.reader import Reader
    from domain.clock import ManualClock

    file = next(folder.glob("ledger-*.db"))
    clock, url = ManualClock(ENDS), f"sqlite:///{file}"
    with sa.create_engine(url).connect() as db:
        db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    opened = _seconds(lambda: Ledger.open(url, desk="paper-simulated", price_source="simulated", clock=clock).close())
    reader = Reader(url, clock)
    folded, again = _seconds(lambda: reader.account("main")), _seconds(lambda: reader.account("main"))
    trades = _seconds(lambda: OwnTrades(one).refresh(reader))
    peak = _seconds(lambda: reader.peak_equity("main"))
    first, *rest = _pages()
    return {
        "bytes": file.stat().st_size,
        "opened": opened,
        "folded": folded,
        "again": again,
        "trades": trades,
        "peak": peak,
        "page": first,
        "page_again": float(np.median(rest)),
    }


def _pages() -> Iterator[float]:
    """Seconds of the Bot page, opened and run again, by Streamlit's own AppTest."""
    from streamlit.testing.v1 import AppTest

    import bootstrap
    from benchmarks.servers import ROOT

    for kept in (bootstrap.people, bootstrap._trading):
        kept.cache_clear()
    bootstrap._started = None
    at = AppTest.from_file(str(ROOT / "pages" / "bot.py"), default_timeout=300)
    for _ in range(1 + AGAIN):
        yield _seconds(at.run)
        if at.exception:
            raise RuntimeError(f"the Bot page failed: {at.exception[0].message}")


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    print(json.dumps(measured(Path(sys.argv[1]), sorted(map(int, sys.argv[2:])))))
