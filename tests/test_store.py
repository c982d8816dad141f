"""The store: exact, idempotent, safe to kill, and never a keeper of made-up prices."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.candles import COLUMNS, TIMEFRAMES, expected, frame, nanos
from domain.clock import ManualClock
from domain.errors import DataError
from domain.instruments import Instrument, instrument
from feeds._candle_file import CandleFile, read_candles, write_candles
from feeds.store import CandleStore, Span, of_one_source, without
from tests.conftest import ROOT

AAPL, BTC = instrument("AAPL"), instrument("BTCUSDT")
M1, M5, H1, D1 = (TIMEFRAMES[name] for name in ("1m", "5m", "1h", "1d"))
NOW = datetime(2026, 1, 10, 0, 30, tzinfo=UTC)
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def store(tmp_path: Path) -> CandleStore:
    return CandleStore(tmp_path / "candles", ManualClock(NOW))


def hours(first: int, count: int, price: float = 100.0) -> pd.DataFrame:
    """`count` hours of BTC from the `first` one of 2025, each a cent above the one before."""
    start = pd.Timestamp("2025-01-01", tz="UTC").value + first * H1.nanos
    close = np.round(price + np.arange(first, first + count) / 100, 2)
    values = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": np.full(count, 7.5)}
    return frame(start + np.arange(count) * H1.nanos, values)


def hour(n: int) -> datetime:
    return datetime(2025, 1, 1, tzinfo=UTC) + n * timedelta(hours=1)


def bits(candles: pd.DataFrame) -> list[list[int]]:
    return np.ascontiguousarray(candles.to_numpy()).view(np.int64).tolist()


def everything(store: CandleStore) -> pd.DataFrame:
    return store.read(BTC, H1, hour(-20_000), NOW)


prices = st.one_of(
    st.floats(min_value=5e-324, max_value=1.7e308, allow_nan=False, allow_infinity=False),
    st.floats(min_value=0.25, max_value=1e6, width=32),
    st.integers(1, 10**9).map(lambda n: n / 100),
)
volumes = st.one_of(st.floats(min_value=0, max_value=1.7e308), st.integers(0, 2**60).map(float), st.just(-0.0))


@st.composite
def wild_candles(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.lists(st.tuples(prices, prices, prices, prices, volumes), min_size=1, max_size=30))
    at = np.cumsum([draw(st.integers(1, 50)) for _ in rows])
    body = np.array([(a, max(a, b, c, d), min(a, b, c, d), b, v) for a, b, c, d, v in rows])
    start = pd.Timestamp("2025-01-01", tz="UTC").value
    return frame(start + at * H1.nanos, {c: body[:, i] for i, c in enumerate(COLUMNS)})


@QUICK
@given(candles=wild_candles())
def test_what_is_written_is_read_back_bit_for_bit(tmp_path: Path, candles: pd.DataFrame) -> None:
    path = tmp_path / "x.parquet"
    content = CandleFile(candles, of_one_source("http", len(candles)), ((1, 2), (5, 9)))

    write_candles(path, content)
    back = read_candles(path)

    assert bits(back.candles) == bits(candles)
    assert back.candles.index.equals(candles.index)
    assert list(back.sources) == ["http"] * len(candles)
    assert back.covered == content.covered


@pytest.mark.parametrize(
    ("make", "most"),
    [
        pytest.param(lambda x: np.round(x, 2), 8.0, id="cents"),
        pytest.param(lambda x: np.round(x, 2).astype(np.float32).astype(float), 8.0, id="cents through float32"),
        pytest.param(lambda x: x.astype(np.float32).astype(float), 16.0, id="float32"),
        pytest.param(lambda x: x, 45.0, id="any float64"),
    ],
)
def test_every_form_of_price_is_exact_and_small(tmp_path: Path, make: object, most: float) -> None:
    rng = np.random.default_rng(7)
    close = make(200 * np.exp(np.cumsum(rng.normal(0, 5e-4, 20_000))))  # type: ignore[operator]
    open_ = np.r_[close[0], close[:-1]]
    body = np.maximum(open_, close), np.minimum(open_, close)
    values = [open_, *body, close, rng.integers(0, 9000, 20_000).astype(float)]
    candles = frame(np.arange(20_000) * M1.nanos, dict(zip(COLUMNS, values, strict=True)))

    write_candles(tmp_path / "x.parquet", CandleFile(candles, of_one_source("http", 20_000), ()))

    assert bits(read_candles(tmp_path / "x.parquet").candles) == bits(candles)
    assert (tmp_path / "x.parquet").stat().st_size / 20_000 < most


def test_it_takes_less_than_half_of_pandas_default_parquet(tmp_path: Path) -> None:
    candles = hours(0, 8000)
    write_candles(tmp_path / "ours.parquet", CandleFile(candles, of_one_source("http", 8000), ()))
    candles.to_parquet(tmp_path / "theirs.parquet")

    assert (tmp_path / "ours.parquet").stat().st_size * 2 < (tmp_path / "theirs.parquet").stat().st_size


def test_merging_again_changes_nothing_and_says_so(store: CandleStore) -> None:
    first = store.merge(BTC, H1, hours(0, 50), "http", (hour(0), hour(50)))
    [path] = store.root.glob("*/*/*/*.parquet")
    written = path.stat().st_mtime_ns, path.stat().st_ino

    again = store.merge(BTC, H1, hours(0, 50), "http", (hour(0), hour(50)))

    assert (first.added, first.replaced, first.same) == (50, 0, 0)
    assert (again.added, again.replaced, again.same) == (0, 0, 50)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written


def test_the_later_merge_wins_and_is_counted_and_named(store: CandleStore) -> None:
    store.merge(BTC, H1, hours(0, 4), "http")
    done = store.merge(BTC, H1, hours(2, 4, price=500.0), "yahoo")

    assert (done.added, done.replaced, done.same) == (2, 2, 0)
    assert store.read(BTC, H1, hour(0), hour(9))["close"].tolist() == [100, 100.01, 500.02, 500.03, 500.04, 500.05]
    assert list(store.sources(BTC, H1, hour(0), hour(9))) == ["http"] * 2 + ["yahoo"] * 4


@QUICK
@given(
    spans=st.lists(st.tuples(st.integers(-200, 8000), st.integers(1, 60)), min_size=1, max_size=5),
    seed=st.randoms(use_true_random=False),
)
def test_the_order_of_merges_does_not_matter(tmp_path_factory: pytest.TempPathFactory, spans, seed) -> None:  # type: ignore[no-untyped-def]
    order = list(spans)
    seed.shuffle(order)
    stores = []
    for one in (spans, order):
        made = CandleStore(tmp_path_factory.mktemp("store"), ManualClock(NOW))
        for first, count in one:
            made.merge(BTC, H1, hours(first, count), "http", (hour(first), hour(first + count)))
        stores.append(made)

    assert bits(everything(stores[0])) == bits(everything(stores[1]))
    assert stores[0].covered(BTC, H1) == stores[1].covered(BTC, H1)


@QUICK
@given(
    spans=st.lists(st.tuples(st.integers(0, 9500), st.integers(0, 500)), max_size=6),
    asked=st.tuples(st.integers(-9000, 9500), st.integers(0, 9000)),
)
def test_missing_and_covered_together_are_what_was_asked(tmp_path_factory, spans, asked) -> None:  # type: ignore[no-untyped-def]
    store = CandleStore(tmp_path_factory.mktemp("store"), ManualClock(NOW))
    for first, count in spans:
        store.merge(BTC, H1, hours(first, 0), "http", (hour(first), hour(first + count)))
    start, end = hour(asked[0]), hour(asked[0] + asked[1])

    missing = store.missing(BTC, H1, start, end)
    covered = store.load(BTC, H1, start, min(end, NOW)).covered

    pieces = sorted([*missing, *covered])
    assert all(a.end == b.start for a, b in itertools.pairwise(pieces))
    assert not pieces or (pieces[0].start, pieces[-1].end) == (start, min(end, NOW))
    assert bool(pieces) == (start < min(end, NOW))


def test_only_the_missing_part_is_missing(store: CandleStore) -> None:
    store.merge(BTC, H1, hours(10, 10), "http", (hour(10), hour(20)))

    assert store.missing(BTC, H1, hour(5), hour(25)) == [Span(hour(5), hour(10)), Span(hour(20), hour(25))]
    assert store.missing(BTC, H1, hour(12), hour(18)) == []
    assert store.missing(BTC, H1, hour(0), NOW + timedelta(days=9))[-1].end == NOW


def test_the_forming_bar_is_never_covered(store: CandleStore) -> None:
    forming = NOW.replace(minute=0)
    store.merge(BTC, H1, hours(0, 0), "http", (forming - timedelta(hours=3), NOW + timedelta(hours=5)))

    assert store.covered(BTC, H1)[-1].end == forming


def test_a_covered_span_without_bars_is_remembered(store: CandleStore) -> None:
    store.merge(BTC, H1, hours(0, 0), "http", (hour(-9000), hour(100)))

    assert store.missing(BTC, H1, hour(-8000), hour(50)) == []
    assert everything(store).empty


def test_years_are_files_and_read_as_one(store: CandleStore) -> None:
    store.merge(BTC, H1, hours(-48, 96), "http", (hour(-48), hour(48)))

    assert sorted(p.name for p in store.root.glob("*/*/*/*.parquet")) == ["2024.parquet", "2025.parquet"]
    assert bits(store.read(BTC, H1, hour(-48), hour(48))) == bits(hours(-48, 96))
    assert store.covered(BTC, H1) == [Span(hour(-48), hour(48))]


def test_gaps_are_regular_bars_that_a_source_left_out(store: CandleStore) -> None:
    day = datetime(2025, 11, 28, tzinfo=UTC)  # the half-day after Thanksgiving
    opens = expected(day, day + timedelta(days=1), M5, AAPL)
    kept = np.delete(opens, [3, 4, 10])
    ones = np.ones(len(kept))
    candles = frame(kept, dict.fromkeys(COLUMNS, ones))

    store.merge(AAPL, M5, candles, "http", (day, day + timedelta(days=3)))

    at = [datetime.fromtimestamp(opens[i] // 10**9, tz=UTC) for i in (3, 10)]
    minutes = timedelta(minutes=5)
    assert store.gaps(AAPL, M5, day, day + timedelta(days=3)) == [
        Span(at[0], at[0] + 2 * minutes),
        Span(at[1], at[1] + minutes),
    ]
    assert store.gaps(AAPL, M5, day - timedelta(days=30), day) == []


@pytest.mark.parametrize("source", ["simulated", "simulated:2", ""])
def test_simulated_bars_are_never_kept(store: CandleStore, source: str) -> None:
    with pytest.raises(DataError, match="never kept"):
        store.merge(BTC, H1, hours(0, 3), source)

    assert not store.root.exists()


def test_a_bad_frame_is_refused_before_anything_is_written(store: CandleStore) -> None:
    bad = hours(0, 3)
    bad.iloc[1, 1] = 0.5

    with pytest.raises(DataError, match="high below"):
        store.merge(BTC, H1, bad, "http")
    with pytest.raises(DataError, match="forming bar"):
        store.merge(BTC, H1, hours(8976, 1), "http")  # 10 January, 00:00: open still

    assert not store.root.exists()


@pytest.mark.parametrize("harm", ["cut", "empty", "text", "flipped", "foreign"])
def test_a_damaged_file_is_set_aside_and_its_bars_are_missing_again(store: CandleStore, harm: str) -> None:
    store.merge(BTC, H1, hours(0, 500), "http", (hour(0), hour(500)))
    [path] = store.root.glob("*/*/*/*.parquet")
    data = bytearray(path.read_bytes())
    if harm == "flipped":
        data[40] ^= 0xFF
    if harm == "foreign":
        hours(0, 5).to_parquet(path)
    else:
        path.write_bytes({"cut": data[:-20], "empty": b"", "text": b"no parquet", "flipped": bytes(data)}[harm])

    assert everything(store).empty
    assert store.missing(BTC, H1, hour(0), hour(500)) == [Span(hour(0), hour(500))]
    assert [p.name for p in path.parent.iterdir() if "corrupt" in p.name] == ["2025.parquet.corrupt-1"]
    assert "was damaged" in store.notes()[0]

    store.merge(BTC, H1, hours(0, 500), "http", (hour(0), hour(500)))
    assert bits(everything(store)) == bits(hours(0, 500))


def test_what_is_set_aside_can_be_found_again(store: CandleStore) -> None:
    store.merge(BTC, H1, hours(0, 5), "http", (hour(0), hour(5)))
    store.set_aside(BTC, H1, "was restated")

    assert everything(store).empty
    assert [p.name for p in store.root.glob("*/*/*/*old*")] == ["2025.parquet.old-1"]


def test_holdings_tell_what_is_kept(store: CandleStore) -> None:
    store.merge(BTC, H1, hours(0, 30), "http", (hour(0), hour(30)))
    store.merge(BTC, H1, hours(30, 2), "yahoo")
    (store.root / "notes" / "of" / "mine").mkdir(parents=True)

    [line] = store.holdings()

    assert (line.symbol, line.timeframe, line.rows, line.sources) == ("BTCUSDT", "1h", 32, ("http", "yahoo"))
    assert (line.first, line.last) == (hour(0), hour(31))
    assert line.size > 0


def test_a_symbol_cannot_leave_the_folder(store: CandleStore) -> None:
    for symbol in ("../../etc", "/etc"):
        with pytest.raises(DataError, match="outside"):
            store.merge(Instrument(symbol, calendar_code="24/7"), H1, hours(0, 1), "http")


def test_two_writers_at_once_lose_nothing(store: CandleStore) -> None:
    other = CandleStore(store.root, store.clock)

    with ThreadPoolExecutor(4) as pool:
        for n in range(24):
            first = n * 10
            pool.submit((store, other)[n % 2].merge, BTC, H1, hours(first, 10), "http", (hour(first), hour(first + 10)))

    assert bits(everything(store)) == bits(hours(0, 240))
    assert store.covered(BTC, H1) == [Span(hour(0), hour(240))]


# Starts a writer, kills it after the milliseconds it is told on each line, says "killed", and starts the next.
WRITERS = """
import os, signal, sys, time
import feeds.http  # the source's own file, before the first fork
from pathlib import Path
from tests.test_store import BTC, H1, NOW, CandleStore, ManualClock, hour, hours
from domain.candles import check
store = CandleStore(Path(sys.argv[1]), ManualClock(NOW))
check(hours(0, 40), BTC, H1, NOW)  # builds the calendar before the first fork
for line in sys.stdin:
    writer = os.fork()
    if not writer:
        for n in range(100_000):
            first = n * 7 % 8000
            store.merge(BTC, H1, hours(first, 40), "http", (hour(first), hour(first + 40)))
    time.sleep(int(line) / 1000)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    print("killed", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9 is a POSIX signal")
def test_a_writer_killed_at_any_moment_leaves_a_readable_store(store: CandleStore) -> None:
    command = [sys.executable, "-c", WRITERS, str(store.root)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writers:
        assert writers.stdin
        assert writers.stdout
        for wait in (120, 45, 31, 53, 27, 61, 38, 44, 29, 57, 35, 49):
            print(wait, file=writers.stdin, flush=True)
            assert writers.stdout.readline() == "killed\n"

            kept = everything(store)
            assert store.notes() == ()
            assert (np.diff(nanos(kept)) > 0).all()
            for start, end in store.covered(BTC, H1):
                assert len(store.read(BTC, H1, start, end)) == (end - start) // timedelta(hours=1)
        writers.stdin.close()

    store.merge(BTC, H1, hours(0, 10), "http")
    assert list(store.root.rglob("*.tmp")) == []
    assert len(everything(store)) > 40


def test_spans_are_cut_out_of_a_span() -> None:
    whole = Span(hour(0), hour(10))

    assert without(whole, []) == [whole]
    assert without(whole, [Span(hour(-5), hour(20))]) == []
    assert without(whole, [Span(hour(2), hour(3)), Span(hour(9), hour(12))]) == [
        Span(hour(0), hour(2)),
        Span(hour(3), hour(9)),
    ]
    assert without(Span(hour(3), hour(3)), []) == []
