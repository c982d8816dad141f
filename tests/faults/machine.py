"""The whole desk as a state machine: anything a person, the market, the line or death may do, in any order.

`tests/test_desk_machine.py` runs it in small, `python -m tests.campaigns stateful` for long.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from brokers.base import Broker
from brokers.paper import PaperBroker
from desk import crash
from desk.ticket import to_json
from domain.calendars import calendar
from domain.commands import Kind
from domain.errors import BrokerUnavailable, DeskError, LeaseHeld
from domain.orders import AT_BROKER, OrderRequest, OrderType, Purpose, Side, TimeInForce
from domain.trading_state import TradingState
from tests.faults import truth
from tests.faults.broker import CANCEL_FAULTS, LOOKS, PLACE_FAULTS, FaultyBroker, Told
from tests.faults.mute import MuteBroker
from tests.faults.points import Died, at, die, points
from tests.trading import PaperDesk

ACCOUNTS = ("main", "savings")
SYMBOLS = ("AAPL", "KO", "NVDA")
LIMITS: dict[str, Any] = {
    "duplicate_window_s": 1.0,
    "max_orders_per_minute": 60,
    "max_orders_per_day": 5000,
    "max_consecutive_refusals": 20,
    "max_daily_loss_pct": 20.0,
    "max_drawdown_pct": 50.0,
}
MEMORY = Path("/dev/shm")  # a killed engine is what is tested here, not a power cut: no disk needs to spin
NYSE = calendar("XNYS")
counts: Counter[str] = Counter()

symbols, accounts = st.sampled_from(SYMBOLS), st.sampled_from(ACCOUNTS)
exits = st.sampled_from(["none", "stop", "target", "both", "both", "trail", "trail and all"])
offsets = st.integers(-300, 300).map(lambda cents: D(cents) / 100)
mishaps = st.one_of(
    st.none(),
    st.none(),
    st.tuples(st.just("place"), st.sampled_from(PLACE_FAULTS)),
    st.tuples(st.just("cancel"), st.sampled_from(CANCEL_FAULTS)),
    st.tuples(st.sampled_from(points()), st.integers(1, 3)),
)
Mishap = tuple[str, Any] | None


def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="desk-", dir=MEMORY if MEMORY.is_dir() else None))


class DeskMachine(RuleBasedStateMachine):
    """Every rule is one thing that happens and a turn or more of the engine after it."""

    calms_down: tuple[float, ...] = (1.0, 6.0, 6.0, 20.0, 61.0, 6.0, 31.0)

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = folder()
        self.faults = Told()
        self.stopped: list[str] = []
        self.pressed: list[tuple[Kind, dict[str, Any], str]] = []
        self.desk = PaperDesk(self.folder, accounts="main:margin:100000,savings:cash:50000", broker=self._on_a_bad_line)
        self.alive = False
        self.since_quiet = 0

    def _on_a_bad_line(self, inner: Broker) -> Broker:
        return FaultyBroker(inner, self.faults, self._heard)  # type: ignore[return-value]

    def _heard(self, call: str, asked: OrderRequest | None) -> None:
        state = self.desk.reader.trading_state().state
        if state is TradingState.DISABLED:
            self.stopped.append(f"I7: a {call} reached the broker while trading was disabled")
        if asked is not None and asked.purpose is Purpose.ENTRY and state is not TradingState.ENABLED:
            self.stopped.append(f"I7: an entry in {asked.symbol} reached the broker while trading was {state}")

    # Life

    @initialize(held=st.lists(st.tuples(accounts, symbols, exits), max_size=3))
    def begin(self, held: list[tuple[str, str, str]]) -> None:
        self.start()
        for name, value in LIMITS.items():
            self.desk.append(Kind.SET_LIMIT, {"name": name, "value": value})
        self.turn(2)
        for account, symbol, wished in held:
            self.place(account, symbol, Side.BUY, 40, OrderType.MARKET, D(0), wished, TimeInForce.DAY)
        self.turn()

    def start(self) -> None:
        try:
            self.loop.run_until_complete(self.desk.start())
            self.alive = True
        except Died:
            self.drop("died while it started")
        except LeaseHeld:
            raise
        except DeskError:
            counts["start failed"] += 1
            self.drop("start failed")

    def drop(self, why: str) -> None:
        """As the kernel does with a dead process: locks fall and connections close, nothing is said or written."""
        counts[why] += 1
        crash.install(None)
        engine = self.desk.engine
        assert engine is not None
        if hasattr(engine, "_lease"):
            engine._lease._lock.drop()
        if hasattr(engine, "_ledger"):
            engine._ledger.close()
            engine._looking.close()
        paper = engine.parts.broker
        while not isinstance(paper, PaperBroker):
            paper = paper.inner  # type: ignore[attr-defined]
        paper._book.close()
        self.desk.engine = None
        self.alive = False

    def turn(self, times: int = 1, seconds: float = 1.0) -> None:
        self.since_quiet += 1
        for _ in range(times):
            self.desk.clock.advance(seconds=seconds)
            if not self.alive:
                self.start()
            if not self.alive:
                continue
            engine = self.desk.engine
            assert engine is not None
            try:
                self.loop.run_until_complete(engine.turn())
                counts["turns"] += 1
            except Died:
                self.drop("died")
            except LeaseHeld:
                raise
            except DeskError as error:
                if not isinstance(error, BrokerUnavailable):
                    raise
                counts["turns cut short"] += 1
                engine.tools.note("turn", f"A turn was cut short: {error}")

    def teardown(self) -> None:
        crash.install(None)
        try:
            if self.alive or self.desk.engine is not None:
                self.all_quiet()
        finally:
            if self.desk.engine is not None and self.alive:
                self.loop.run_until_complete(self.desk.stop())
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # A person asks

    def suffer(self, mishap: Mishap) -> None:
        """What will go wrong next: the next sending or cancel on the line, or a death at that visit of a place."""
        if mishap is None:
            return
        what, how = mishap
        if what in self.faults.queued:
            self.faults.queued[what].append(how)
        else:
            counts["dying at some place"] += 1
            crash.install(at(what, how, die))

    def ask(self, kind: Kind, payload: dict[str, Any]) -> None:
        counts[f"asked: {kind}"] += 1
        key = self.desk.append(kind, payload)
        self.pressed.append((kind, payload, key))

    @rule(
        account=accounts,
        symbol=symbols,
        side=st.sampled_from([Side.BUY, Side.BUY, Side.BUY, Side.SELL]),
        quantity=st.sampled_from([1, 7, 20, 40, 90, 150]),
        kind=st.sampled_from(
            [OrderType.MARKET, OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.TRAILING_STOP]
        ),
        offset=offsets,
        exits=exits,
        life=st.sampled_from([TimeInForce.DAY, TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC]),
        mishap=mishaps,
    )
    def place(
        self,
        account: str,
        symbol: str,
        side: Side,
        quantity: int,
        kind: OrderType,
        offset: D,
        exits: str,
        life: TimeInForce,
        mishap: Mishap = None,
    ) -> None:
        self.suffer(mishap)
        last, sign = self.desk.prices.last[symbol], side.sign
        request = OrderRequest(
            account,
            symbol,
            side,
            D(quantity),
            kind,
            limit=last + offset if kind is OrderType.LIMIT else None,
            stop=last + sign * abs(offset) + sign * D("0.05") if kind is OrderType.STOP else None,
            trail=abs(offset) + D("0.10") if kind is OrderType.TRAILING_STOP else None,
            time_in_force=life if kind is OrderType.LIMIT else TimeInForce.DAY,
            stop_loss=last - sign * D(4) if exits in ("stop", "both", "trail and all") else None,
            target=last + sign * D(6) if exits in ("target", "both", "trail and all") else None,
            stop_trail=D("1.20") if exits.startswith("trail") else None,
        )
        self.ask(Kind.PLACE, {"request": to_json(request)})
        self.turn()

    @rule(symbol=symbols, wished=st.lists(exits, min_size=1, max_size=3), by=st.integers(-150, 20), mishap=mishaps)
    def entries_below_the_price(self, symbol: str, wished: list[str], by: int, mishap: Mishap) -> None:
        """Limits a little below, with other exits each; then the price may fall through them all at once."""
        for n, one in enumerate(wished):
            below = D("-0.30") - D(n) / 10
            self.place("main", symbol, Side.BUY, 20 + n, OrderType.LIMIT, below, one, TimeInForce.GTC)
        self.suffer(mishap)
        self._move(symbol, D(by) / 100)
        self.turn(2)

    @rule(account=accounts, symbol=symbols, quantity=st.sampled_from(["5", "60", "30000"]))
    def preview_and_place(self, account: str, symbol: str, quantity: str) -> None:
        ticket = {"account": account, "symbol": symbol, "side": "buy", "type": "market", "quantity": quantity}
        self.ask(Kind.PREVIEW, {**ticket, "stop_atr": "2", "target_atr": "4"})
        self.turn()
        answer = self.desk.inbox.answer(key := self.pressed[-1][2])
        if answer is not None and "token" in answer.details:
            payload = {"preview": key, "request": answer.details["request"]}
            for _ in range(2):
                self.desk.append(Kind.PLACE, payload, key=answer.details["token"])
            self.turn()

    @precondition(lambda self: self.pressed)
    @rule(which=st.integers(0, 100))
    def press_again(self, which: int) -> None:
        kind, payload, key = self.pressed[which % len(self.pressed)]
        assert self.desk.append(kind, payload, key=key) == key
        self.turn()

    @rule(which=st.integers(0, 20), mishap=mishaps, level=st.sampled_from([0, 0, 0, 4]))
    def cancel(self, which: int, mishap: Mishap, level: int) -> None:
        self.suffer(mishap)
        if (order := self._open_order(which)) is not None:
            self.ask(Kind.CANCEL, {"order": order})
            self.turn()
            if level:
                self.kill(level, True)

    @rule(account=st.sampled_from(["", *ACCOUNTS]))
    def cancel_all(self, account: str) -> None:
        self.ask(Kind.CANCEL_ALL, {"account": account, "symbol": ""})
        self.turn()

    @rule(which=st.integers(0, 20), quantity=st.sampled_from([None, "3", "25", "120"]), offset=offsets, mishap=mishaps)
    def change(self, which: int, quantity: str | None, offset: D, mishap: Mishap) -> None:
        self.suffer(mishap)
        if (id_ := self._open_order(which)) is None:
            return
        order = self.desk.reader.order(id_)
        assert order is not None
        payload: dict[str, Any] = {"order": id_}
        if quantity:
            payload["quantity"] = quantity
        if order.request.limit:
            payload["limit"] = str(order.request.limit + offset / 10)
        self.ask(Kind.CHANGE, payload)
        self.turn(2)

    def _open_order(self, which: int) -> str | None:
        found = [o.id for o in self.desk.reader.open_orders() if o.status in AT_BROKER]
        return found[which % len(found)] if found else None

    @rule(
        account=accounts,
        symbol=symbols,
        percent=st.sampled_from(["25", "50", "75", "100"]),
        limit=st.one_of(st.none(), offsets),
        turns=st.integers(0, 3),
        mishap=mishaps,
    )
    def close(self, account: str, symbol: str, percent: str, limit: D | None, turns: int, mishap: Mishap) -> None:
        self.suffer(mishap)
        payload = {"account": account, "symbol": symbol, "percent": percent, "type": "market"}
        if limit is not None:
            payload |= {"type": "limit", "limit": str(self.desk.prices.last[symbol] + limit / 10)}
        self.ask(Kind.CLOSE, payload)
        self.turn(turns)

    @rule(
        account=accounts,
        symbol=symbols,
        stop=st.sampled_from(["as it is", "none", "near", "far"]),
        profit=st.sampled_from(["as it is", "none", "near", "far"]),
        trail=st.sampled_from(["as it is", "as it is", "none", "0.50", "2.50"]),
        mishap=mishaps,
    )
    def protect(self, account: str, symbol: str, stop: str, profit: str, trail: str, mishap: Mishap) -> None:
        self.suffer(mishap)
        position = self.desk.reader.positions(account).get(symbol)
        sign = -1 if position and position.quantity < 0 else 1
        payload: dict[str, Any] = {"account": account, "symbol": symbol}
        for name, wish, away in (("stop", stop, -1), ("target", profit, 1)):
            if wish != "as it is":
                distance = {"near": D("0.60"), "far": D(5), "none": None}[wish]
                price = distance and self.desk.prices.last[symbol] + sign * away * distance
                payload[name] = None if price is None else str(price)
        if trail != "as it is":
            payload["trail"] = None if trail == "none" else trail
        self.ask(Kind.PROTECT, payload)
        self.turn()

    @rule(level=st.sampled_from([1, 2, 3, 4]), and_back=st.sampled_from([True, True, False]))
    def kill(self, level: int, and_back: bool) -> None:
        self.ask(Kind.KILL, {"level": level, "reason": "a test", "typed": "FLATTEN"})
        self.turn(2)
        self.turn(2, 6.0)
        if and_back:
            self.re_arm(1)

    @rule(turns=st.integers(0, 2))
    def re_arm(self, turns: int) -> None:
        self.ask(Kind.RE_ARM, {"reason": "a test"})
        for account in ACCOUNTS:
            self.ask(Kind.RESET_BREAKER, {"account": account, "reason": "a test"})
        self.turn(turns)

    @rule(
        limit=st.sampled_from(
            [("max_quantity", 50), ("max_quantity", 10_000), ("max_notional", 3000.0), ("max_notional", 50_000.0)]
        )
    )
    def set_limit(self, limit: tuple[str, Any]) -> None:
        self.ask(Kind.SET_LIMIT, {"name": limit[0], "value": limit[1]})
        self.turn()

    # The market moves

    @rule(
        symbol=symbols,
        by=st.one_of(st.integers(-120, 120).map(lambda cents: D(cents) / 100), st.sampled_from([D(-9), D(-5), D(6)])),
        turns=st.integers(1, 3),
        mishap=mishaps,
    )
    def price_moves(self, symbol: str, by: D, turns: int, mishap: Mishap) -> None:
        self.suffer(mishap)
        self._move(symbol, by)
        self.turn(turns)

    def _move(self, symbol: str, by: D) -> None:
        begin = {"AAPL": D(100), "KO": D(60), "NVDA": D(200)}[symbol]
        self.desk.prices.last[symbol] = min(2 * begin, max(begin / 2, self.desk.prices.last[symbol] + by))

    @rule(step=st.sampled_from([0.0, 300.0, 1000.0, 100_000.0]))
    def volume(self, step: float) -> None:
        """How much trades between two looks: next to nothing makes partial fills."""
        self.desk.prices.step = step
        self.turn()

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0, 61.0]), turns=st.integers(1, 2))
    def time_passes(self, seconds: float, turns: int) -> None:
        self.turn(turns, seconds)

    @rule(where=st.sampled_from(["next phase", "night", "open", "open"]))
    def later(self, where: str) -> None:
        now = self.desk.clock.now()
        opens = NYSE.next_open(now)
        assert opens is not None
        to = {"next phase": NYSE.state(now).changes_at, "night": opens - timedelta(hours=9), "open": opens}[where]
        assert to is not None
        if to > now:
            self.desk.clock.advance(seconds=(to - now).total_seconds() + 5)
        self.turn(2)

    @rule(turns=st.integers(1, 2))
    def prices_fail(self, turns: int) -> None:
        counts["fault: prices"] += 1
        self.desk.prices.fails = "the line is dead"
        self.turn(turns)
        self.desk.prices.fails = ""

    # The line breaks, the engine dies

    @rule(
        which=st.sets(st.sampled_from(LOOKS), min_size=1),
        turns=st.integers(1, 4),
        seconds=st.sampled_from([1.0, 20.0]),
        symbol=symbols,
        by=st.sampled_from([D(0), D("-0.80"), D(-5), D(7)]),
    )
    def broker_is_down(self, which: set[str], turns: int, seconds: float, symbol: str, by: D) -> None:
        self.faults.down |= which
        self._move(symbol, by)
        self.turn(turns, seconds)
        self.faults.down -= which

    @precondition(lambda self: self.since_quiet > 5)
    @rule()
    def restart(self) -> None:
        counts["restarts"] += 1
        if self.alive:
            self.loop.run_until_complete(self.desk.stop())
            self.alive = False
        self.turn()

    @precondition(lambda self: self.since_quiet > 12)
    @rule()
    def quiet(self) -> None:
        self.all_quiet()

    # What must be true

    def all_quiet(self) -> None:
        """No more faults, enough volume, some turns: then everything must be where it belongs."""
        crash.install(None)
        self.faults.none_any_more()
        self.desk.prices.step = 100_000.0
        self.since_quiet = 0
        counts["looked at when quiet"] += 1
        for seconds in self.calms_down:
            self.turn(2, seconds)
            if self.alive and not (wrong := self._wrong()):
                return
        engine = self.desk.engine
        assert engine is not None
        raise AssertionError("\n".join([*wrong, *(f"  problem: {p}" for p in engine.tools.problems.values())]))

    def _wrong(self) -> list[str]:
        broker, book = self._look()
        quotes = {s: (self.desk.prices.last[s] - D("0.01"), self.desk.prices.last[s] + D("0.01")) for s in SYMBOLS}
        engine = self.desk.engine
        assert engine is not None
        read = engine.tools.reader
        told = {
            name: (found.cash, {s: p.quantity for s, p in found.positions.items() if p.quantity})
            for name in ACCOUNTS
            if (found := read.account(name)) is not None
        }
        return [*truth.settled(broker, book, quotes), *truth.sound(self.desk.place_of.ledger_url, told)]

    def _look(self) -> tuple[truth.Broker, truth.Book]:
        data = self.desk.settings.data_dir
        return (
            truth.Broker.read(data / f"broker-{self.desk.place_of.name}.db"),
            truth.Book.read(data / f"ledger-{self.desk.place_of.name}.db"),
        )

    @invariant()
    def nothing_is_wrong(self) -> None:
        if self.desk.engine is None and not self.alive and not self.pressed:
            return
        assert not self.stopped, self.stopped
        wrong = list(truth.always(*self._look()))
        assert not wrong, "\n".join(wrong)


class MuteDeskMachine(DeskMachine):
    """The same at a broker that tells neither our names nor single fills, and knows no pairs."""

    calms_down = (1.0, 6.0, 6.0, 20.0, 61.0, 6.0, 61.0, 61.0, 61.0, 6.0, 31.0, 6.0)

    def _on_a_bad_line(self, inner: Broker) -> Broker:
        return FaultyBroker(MuteBroker(inner, self.desk.clock), self.faults, self._heard)  # type: ignore[return-value]
