"""Orders at E*TRADE within its limits: from a fill to its stop, after a lost reply, after a kill, all sold at once."""

from __future__ import annotations

import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from benchmarks.report import Goal, Section, Spread, Table, time_of
from benchmarks.watched_desk import KEY, WatchedDesk, is_stop, watched_desk
from benchmarks.watched_engine import BEFORE_SENDING, Seen
from desk.closing import order_id_of
from domain.commands import Kind
from domain.instruments import KNOWN
from domain.orders import Status

HOW = (
    "The engine's own program (`trading_bot.py`) trades in real time at a local E*TRADE that refuses what comes too "
    "fast: two calls a second for orders. Three desks run side by side, each at a simulator of its own. "
    "Market orders fill within a tenth of a second. **Floor**: the calls that cannot be spared, at two a second. "
    "**Unprotected**: from the fill, by the simulator's clock, to the stop resting there. **Lost reply**: an order was "
    "taken, the line went dead before a byte of the answer; until the desk knows the order again. **Killed**: SIGKILL, "
    "the program started again at once, until it may act; the sign-in is kept. **FLATTEN**: from the command to the "
    "last market order taken, each position under a stop. **Idle**: nothing happens, the prices are followed."
)
A_SECOND = 2
AT_ONCE = 5  # entries asked for together; the desk hears of their fills when all of them are sent
FILLER = "F"  # a share that others trade in the same account
TO_PROTECT = ("list", "preview", "list", "place")
TO_FLATTEN = ("cancel", "preview", "place")
ALLOWED = {"accounts": 7_000, "orders": 7_000, "market": 14_000, "alerts": 7_000}
ANSWERED, WAITED, ELSE = "on its way to E*TRADE and back", "waiting for E*TRADE's limit", "the desk's own time"
SHORT = {
    "the orders list": "list",
    BEFORE_SENDING: "list before sending",
    "the preview": "preview",
    "the order": "place",
    "the cancel": "cancel",
}
Parts = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each."""

    entries: int = 30
    flattened: int = 31
    listed: int = 200
    kills: int = 3
    held: int = 10
    idle_s: float = 60.0
    lost: int = 12


QUICK = Sizes(entries=3, flattened=3, listed=20, kills=1, held=2, idle_s=5.0, lost=2)


@dataclass(slots=True)
class Found:
    """Rows and goals of one desk's run, and calls over E*TRADE's limits."""

    rows: list[list[str]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    over: int = 0


def measure(quick: bool) -> Section:
    """All of it, on three desks at once."""
    return measured(QUICK if quick else Sizes())


def measured(sizes: Sizes) -> Section:
    parts: tuple[Callable[[Path, Sizes], Found], ...] = (_entries, _kills_and_flatten, _idle_and_lost)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ThreadPoolExecutor(len(parts)) as pool:
        running = [pool.submit(part, Path(folder) / part.__name__.strip("_"), sizes) for part in parts]
        found = [one.result() for one in running]
    over = Goal("calls over E*TRADE's limits", 0, sum(one.over for one in found))
    return Section(
        "Orders at E*TRADE",
        HOW,
        Table(["What", "Seen", "Beside"], [row for one in found for row in one.rows]),
        [*(goal for one in found for goal in one.goals), over],
        [note for one in found for note in one.notes],
    )


def symbols(count: int) -> list[str]:
    """So many shares whose daily candles the simulated history knows; SPY, which arming looks up, among them."""
    known = sorted((s for s, what in KNOWN.items() if not what.is_crypto), key=lambda s: s != "SPY")
    assert count <= len(known)
    return known[: max(count, 1)]


# From the fill to the stop


def _entries(folder: Path, sizes: Sizes) -> Found:
    """One entry after the other: how long its shares lie open, and how much of that is waiting for the limit."""
    chance, wanted = random.Random(7), symbols(sizes.entries)
    with watched_desk(folder, wanted) as desk:
        for symbol in wanted:
            time.sleep(chance.uniform(0.2, 1.2))  # wherever in the engine's turn and E*TRADE's second it falls
            key = desk.buy(symbol)
            desk.until(lambda of=symbol: of in desk.stops(), f"a stop for {symbol} ({key})")  # type: ignore[misc]
        calls, over = desk.notes().calls, desk.over_limits()
        bare, parts = [], dict.fromkeys((WAITED, ANSWERED, ELSE), 0.0)
        for symbol, stop in desk.stops().items():
            [entry] = [o for o in desk.account.orders if o.ticket.symbol == symbol and not is_stop(o)]
            assert entry.executed is not None
            begin, end = desk.machine(entry.executed), desk.machine(stop.placed)
            bare.append(end - begin)
            for what, seconds in split(calls, begin, end).items():
                parts[what] += seconds
    floor = len(TO_PROTECT) / A_SECOND
    whole, p50, p99 = sum(bare), quantile(bare, 0.5), quantile(bare, 0.99)
    beside = f"floor {time_of(floor)}: {', '.join(TO_PROTECT)}"
    return Found(
        [
            [f"unprotected after a fill, p50 of {len(bare)}", time_of(p50), beside],
            ["unprotected after a fill, p99", time_of(p99), f"shortest {time_of(min(bare))}"],
            *shares("unprotected", parts, whole),
        ],
        [Goal("unprotected after a fill, p50 / floor", 1.25, p50 / floor)],
        over=over,
    )


# Killed, and all sold at once


def _kills_and_flatten(folder: Path, sizes: Sizes) -> Found:
    """Positions under their stops, made as fast as it goes; then the engine is killed; then all is sold."""
    wanted = symbols(sizes.flattened)
    with watched_desk(folder, wanted, limited=False) as desk:
        _hold(desk, wanted)
        _others(desk, sizes.listed - len(desk.account.orders))
        starts = [_killed(desk) for _ in range(sizes.kills)]
        ready = Spread.of([one.ready for one in starts])
        listed = len(desk.account.orders)
        last = starts[-1]
        found = Found([[f"killed, to READY with {listed} orders listed", ready.time(), f"{ready.count} kills"]])
        alone = Spread.of([one.first_call for one in starts])
        found.rows.append(["killed, to its first call to E*TRADE", alone.time(), "Python and its libraries"])
        found.rows += shares("killed, from there on, the last time", last.parts, last.ready - last.first_call)
        time.sleep(3.0)
        _flatten(desk, wanted, found)
        found.over = desk.over_limits()
    return found


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the kill to the first call to E*TRADE, and to READY; and where they went."""

    first_call: float
    ready: float
    parts: Parts


def _killed(desk: WatchedDesk) -> Start:
    desk.kill()
    begin = desk.start()
    desk.until(lambda: (n := desk.notes()).began >= begin and n.ready > 0, "an engine that is ready again")
    notes = desk.notes()
    first = min(call.wanted for call in notes.calls)
    time.sleep(1.5)  # its turns go on
    parts = split(notes.calls, first, notes.ready, ("accounts", "orders"))
    return Start(first - begin, notes.ready - begin, parts)


def _hold(desk: WatchedDesk, wanted: Iterable[str]) -> None:
    """A position in each, under its stop."""
    wanted = list(wanted)
    for at in range(0, len(wanted), AT_ONCE):
        some = wanted[at : at + AT_ONCE]
        for symbol in some:
            desk.buy(symbol)
        desk.until(lambda of=set(some): set(desk.stops()) >= of, "a stop for each position")  # type: ignore[misc]


def _others(desk: WatchedDesk, count: int) -> None:
    """Orders by somebody else in the same account, all of them over."""
    desk.sim.price(FILLER, "10.00", bid="9.99", ask="10.01", volume="1000000")
    how = {"price_type": "LIMIT", "limit": "8.00", "term": "IMMEDIATE_OR_CANCEL"}
    for _ in range(count):
        desk.sim.control("order", account=KEY, symbol=FILLER, action="BUY", quantity="1", **how)


def _flatten(desk: WatchedDesk, wanted: list[str], found: Found) -> None:
    begin, before = time.time(), {kept.order_id for kept in desk.account.orders}
    desk.append(Kind.KILL, level=3, reason="a measurement", typed="FLATTEN")

    def sold() -> dict[str, float]:
        new = [kept for kept in list(desk.account.orders) if kept.order_id not in before and not is_stop(kept)]
        return {kept.ticket.symbol: desk.machine(kept.placed) for kept in new if kept.ticket.action == "SELL"}

    desk.until(lambda: len(sold()) >= len(wanted), "a sale of each position", 300.0)
    end, first, calls = max(sold().values()), min(sold().values()), desk.notes().calls
    gone = {stop.ticket.symbol: desk.machine(stop.events[-1].at) for stop in desk.account.orders if is_stop(stop)}
    mine = [call for call in calls if call.let >= begin and call.done <= end + 0.05 and call.module == "orders"]
    kinds = Counter(SHORT.get(call.what, call.what) for call in mine)
    floor = len(wanted) * len(TO_FLATTEN) / A_SECOND
    took = end - begin
    said = f"floor {time_of(floor)}: {', '.join(TO_FLATTEN)} of each"
    found.rows.append([f"FLATTEN of {len(wanted)} positions", time_of(took), said])
    found.rows.append(
        ["FLATTEN, to its first sale", time_of(first - begin), f"{len(mine)} calls of the orders module in all"]
    )
    bare = [sale - gone[symbol] for symbol, sale in sold().items()]
    said = f"longest {time_of(max(bare))}"
    found.rows.append(
        ["FLATTEN, a position without its stop until its sale is taken, p50", time_of(quantile(bare, 0.5)), said]
    )
    found.rows += shares("FLATTEN", split(calls, begin, end), took)
    found.rows += [
        [f"calls of FLATTEN: {kind}", f"{many} of {len(mine)}", f"{many / A_SECOND:.3g} s at two a second"]
        for kind, many in kinds.most_common()
    ]
    found.goals.append(Goal(f"FLATTEN of {len(wanted)} positions, seconds / floor", 1.25, took / floor))


# Idle, and with replies that are lost


def _idle_and_lost(folder: Path, sizes: Sizes) -> Found:
    wanted = symbols(sizes.held + sizes.lost)
    held, rest = wanted[: sizes.held], wanted[sizes.held :]
    found = Found()
    with watched_desk(folder, wanted, limited=False) as desk:
        _hold(desk, held)
        _killed(desk)
        time.sleep(5.0)
        before, begin = _counted(desk), time.monotonic()
        time.sleep(sizes.idle_s)
        took = time.monotonic() - begin
        idle = {module: many - before[module] for module, many in _counted(desk).items()}
        for module, many in sorted(idle.items()):
            hourly = many * 3600 / took
            what = f"an idle desk's calls a minute, {module}"
            found.rows.append([what, f"{many * 60 / took:.3g}", f"{hourly:,.0f} of {ALLOWED[module]:,} an hour"])
            if module != "market":
                found.goals.append(Goal(f"idle, share of an hour's {module} calls", 0.25, hourly / ALLOWED[module]))
        found.rows[0][0] += f" ({sizes.held} positions, {sizes.held} stops)"
        times = [_lost(desk, symbol) for symbol in rest]
        spread = Spread.of(times)
        found.rows.append(
            ["an order's reply is lost, to known again, p50", time_of(spread.median), f"{spread.count} orders"]
        )
        found.rows.append(
            ["an order's reply is lost, longest", time_of(spread.high), f"shortest {time_of(spread.low)}"]
        )
        found.over = desk.over_limits()
    return found


def _counted(desk: WatchedDesk) -> Counter[str]:
    return Counter(desk.sim.control("counters", "GET")["calls"])


def _lost(desk: WatchedDesk, symbol: str) -> float:
    """Seconds from AMBIGUOUS to WORKING, as the ledger has them."""
    desk.sim.fault("drop_after", where="orders/place", times=1)
    order = order_id_of(desk.buy(symbol, limit=str(Decimal("97.00"))))

    def moves() -> dict[Status, float]:
        return {event.after: event.at.timestamp() for event in desk.reader.order_events(order)}

    desk.until(lambda: Status.WORKING in moves(), f"order {order} again")
    told = moves()
    assert Status.AMBIGUOUS in told
    time.sleep(0.3)
    return told[Status.WORKING] - told[Status.AMBIGUOUS]


# Where the time went


def split(calls: Iterable[Seen], begin: float, end: float, modules: Collection[str] = ("orders",)) -> Parts:
    """The seconds from `begin` to `end`, by what these modules' calls did then; all the rest is the desk's own.
    Calls on their way at the same time count once, as a wait where anything waits."""
    mine = [call for call in calls if call.module in modules and call.done > begin and call.wanted < end]
    edges = sorted({begin, end, *(t for call in mine for t in (call.wanted, call.let, call.done) if begin < t < end)})
    found = dict.fromkeys((WAITED, ANSWERED, ELSE), 0.0)
    for left, right in itertools.pairwise(edges):
        waits = any(call.wanted <= left < call.let for call in mine)
        going = any(call.let <= left < call.done for call in mine)
        found[WAITED if waits else ANSWERED if going else ELSE] += right - left
    return found


def shares(words: str, parts: Parts, whole: float) -> list[list[str]]:
    return [[f"{words}: {what}", f"{seconds / whole:.0%}", time_of(seconds)] for what, seconds in parts.items()]


def quantile(values: Iterable[float], part: float) -> float:
    """The smallest value that at least this part of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
