"""A symbol-year of minute bars read back: the candle store against SQLite and default Parquet, time and bytes."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import Goal, Section, Spread, Table
from benchmarks.servers import ROOT
from domain.candles import COLUMNS, frame, nanos, sift, timeframe
from domain.clock import ManualClock
from domain.instruments import Instrument, instrument
from feeds.simulated import SimulatedFeed
from feeds.store import CandleStore
from settings import Settings

YEAR_ROWS = 98_280
REAL = ROOT.parent / "shared" / "data" / "equities_intraday" / "RTX_1m_2025-09_2026-03.parquet"
SOURCE = "yahoo"  # the store keeps no bars that say that they are simulated
MINUTE = timeframe("1m")
HOW = (
    "The same one-minute bars, written once into the candle store, a SQLite table (`PRIMARY KEY (symbol, time)`, "
    "`WITHOUT ROWID`) and a Parquet file by `DataFrame.to_parquet()`, then read whole, in turns, from a warm page "
    "cache. The store's read also gives each bar's source and the spans asked; SQLite is read by `pandas.read_sql` "
    "and, as bare rows, by `fetchall`. Every reader's bars are compared with those written."
)
Ways = dict[str, tuple[Callable[[], pd.DataFrame | list[tuple[float, ...]]], int]]


def measure(quick: bool) -> Section:
    """Simulated bars, and real ones where this machine has them."""
    rows, goals = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for what, of, bars in _bars(Path(folder), quick):
            seen = _measured(Path(folder) / what.split()[0], of, bars, turns=3 if quick else 25)
            base = seen["the candle store"]
            for way, (spread, size) in seen.items():
                ratio = base[0].median / spread.median, base[1] / size
                row = [what, way, spread.time(), f"{size / 1e6:.2f}", f"{size / len(bars):.1f}"]
                rows.append([*row, f"{ratio[0]:.3f}", f"{ratio[1]:.3f}"])
            sql, parquet = seen["SQLite, pandas.read_sql"], seen["Parquet by default (snappy)"]
            goals.append(Goal(f"time, {what}, ours / SQLite's", 0.1, base[0].median / sql[0].median))
            goals.append(Goal(f"bytes, {what}, ours / default Parquet's", 0.5, base[1] / parquet[1]))
    header = ["Bars", "Read from", "Time", "MB on disk", "Bytes a bar", "Time, ours / this", "Bytes, ours / this"]
    return Section("A symbol-year of minute bars", HOW, Table(header, rows), goals)


def _bars(folder: Path, quick: bool) -> list[tuple[str, Instrument, pd.DataFrame]]:
    apple = instrument("AAPL")
    feed = SimulatedFeed(Settings(data_dir=folder, simulated_clock="real"), _clock())
    start = datetime(2025, 1, 1, tzinfo=UTC)
    whole = asyncio.run(feed.candles(apple, MINUTE, start, start + timedelta(days=30 if quick else 400)))
    regular = whole[apple.calendar.locate(nanos(whole))[1] == 2]
    simulated = regular.iloc[: len(regular) if quick else YEAR_ROWS]
    found = [(f"simulated AAPL, {len(simulated):,} rows", apple, simulated)]
    if REAL.exists() and not quick:
        own = instrument("RTX")
        real, _ = sift(_read_real(), own, MINUTE)
        found.append((f"real RTX, {len(real):,} rows", own, real))
    return found


def _read_real() -> pd.DataFrame:
    """The real bars where they lie; their times are New York's."""
    table = pd.read_parquet(REAL)
    times = pd.DatetimeIndex(table["timestamp"]).tz_localize("America/New_York").as_unit("ns").asi8
    return frame(times, {c: table[c] for c in COLUMNS})


def _clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 20, 21, tzinfo=UTC))


def _measured(folder: Path, of: Instrument, bars: pd.DataFrame, turns: int) -> dict[str, tuple[Spread, int]]:
    folder.mkdir()
    ways = {**_store(folder, of, bars), **_sqlite(folder, of, bars), **_parquet(folder, bars)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, (read, _) in ways.items():
            begin = time.perf_counter()
            found = read()
            took = time.perf_counter() - begin
            if turn:
                times[name].append(took)
            else:  # the first reading warms up and is looked at
                _same(name, found, bars)
    return {name: (Spread.of(times[name]), size) for name, (_, size) in ways.items()}


def _store(folder: Path, of: Instrument, bars: pd.DataFrame) -> Ways:
    store = CandleStore(folder / "store", _clock())
    span = bars.index[0].to_pydatetime(), bars.index[-1].to_pydatetime() + timedelta(minutes=1)
    store.merge(of, MINUTE, bars, SOURCE, span)
    size = sum(p.stat().st_size for p in (folder / "store").rglob("*.parquet"))
    return {"the candle store": (lambda: store.read(of, MINUTE, *span), size)}


def _sqlite(folder: Path, of: Instrument, bars: pd.DataFrame) -> Ways:
    path = folder / "candles.sqlite"
    db = sqlite3.connect(path)
    columns = ", ".join(f"{c} REAL NOT NULL" for c in COLUMNS)
    db.execute(f"CREATE TABLE candles (symbol TEXT, time INTEGER, {columns}, PRIMARY KEY (symbol, time)) WITHOUT ROWID")
    rows = zip(nanos(bars).tolist(), *(bars[c].tolist() for c in COLUMNS), strict=True)
    db.executemany("INSERT INTO candles VALUES (?, ?, ?, ?, ?, ?, ?)", ((of.symbol, *row) for row in rows))
    db.commit()
    db.execute("VACUUM")
    wanted = (
        f"SELECT time, {', '.join(COLUMNS)} FROM candles WHERE symbol = ? AND time >= ? AND time <= ? ORDER BY time"
    )
    asked = (of.symbol, int(nanos(bars)[0]), int(nanos(bars)[-1]))

    def by_pandas() -> pd.DataFrame:
        found = pd.read_sql(wanted, db, params=asked)
        found.index = pd.to_datetime(found.pop("time"), unit="ns", utc=True)
        return found

    size = path.stat().st_size
    return {
        "SQLite, pandas.read_sql": (by_pandas, size),
        "SQLite, bare rows": (lambda: db.execute(wanted, asked).fetchall(), size),
    }


def _parquet(folder: Path, bars: pd.DataFrame) -> Ways:
    default, zstd = folder / "default.parquet", folder / "zstd.parquet"
    bars.to_parquet(default)
    bars.to_parquet(zstd, compression="zstd")
    return {
        "Parquet by default (snappy)": (lambda: pd.read_parquet(default), default.stat().st_size),
        "Parquet, zstd": (lambda: pd.read_parquet(zstd), zstd.stat().st_size),
    }


def _same(name: str, found: pd.DataFrame | list[tuple[float, ...]], bars: pd.DataFrame) -> None:
    values = found[list(COLUMNS)].to_numpy() if isinstance(found, pd.DataFrame) else np.array(found)[:, 1:]
    if not np.array_equal(values, bars.to_numpy()):
        raise RuntimeError(f"{name} does not give back what was written")
