"""The last engine of a run: it cleans up after the dead on a clock that it moves itself, and what it comes to is judged
by what the simulator remembers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from desk import signing_in
from desk.authority import LOCAL_OWNER
from desk.inbox import Inbox
from domain.clock import Clock, ManualClock
from domain.commands import Command, Kind
from domain.errors import DeskError, LeaseHeld
from domain.orders import Status
from etrade.session import EtradeSession
from etrade.vault import Vault, file_key
from tests.faults import truth
from tests.faults.etrade_engines import PATIENCE_S, World, listen, on_time, parts
from tests.faults.etrade_memory import Book, Hands, Venue
from tests.faults.etrade_truth import leaks, settled
from tests.faults.etrade_venue import BEGIN, Hand, Walk, lags
from trading_bot import Engine


class Steered:
    """Time that only this process moves, and the simulator's with it."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        hand.ask("clock", stop=True)
        self.clock = ManualClock(hand.now())

    def advance(self, seconds: float) -> None:
        self._hand.ask("tick", seconds=seconds)
        self.clock.advance(seconds=seconds)

    def monotonic(self) -> float:
        return self.clock.now().timestamp()

    async def sleep(self, seconds: float) -> None:
        self.advance(max(seconds, 0.001))


# Faults of calls that never came to be counted.
STRUCK_BEFORE = ("drop_before", "error_before", "oauth_problem", "too_many", "rate_page")


@dataclass(slots=True)
class End:
    """What the last engine found."""

    wrong: list[str] = field(default_factory=list)
    orders: int = 0
    trades: int = 0
    by_hand: int = 0
    swapped: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    placings: int = 0
    uncertain: Counter[str] = field(default_factory=Counter)


# After these many seconds each it looks again; the fence and the list's lag lie within.
STEPS = (1, 1, 2, 3, 6, 6, 11, *(61,) * 6, 3, 3, 6, 6, 11, 31, 61, 6, 11, 6, 31, 6, 6, 31, 6, 6, 61, 61, 6, 6)


def finish(world: World, told: Any) -> None:
    """A sound engine on a sound line, on a clock it moves itself, until all is quiet; tells what is wrong then."""
    listen(world)
    hand, end = Hand(world.url), End()
    for fault in hand.ask("faults", "GET")["faults"]:
        place = fault["where"].rpartition("orders")[2].strip("/") or "list"
        end.faults[f"{place}: {fault['name']}"] += fault["hits"]
    hand.ask("faults", "DELETE")
    hand.ask("rules", volume_cap=0)
    steered = Steered(hand)
    on_time(steered.monotonic, steered.sleep, 1.0)
    signing_in.KEEP_ALIVE_S = signing_in.CLAIM_AGAIN_S = 0.0
    world.sign_in_again()
    asyncio.run(_finish(world, hand, steered, end))
    told.send(end)


async def _finish(world: World, hand: Hand, steered: Steered, end: End) -> None:
    vault = Vault(world.settings.etrade_dir, file_key)
    session = EtradeSession(world.settings, steered.clock, store=vault, trades=True)
    await session.keep_alive()
    engine = Engine(parts(world, session))
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            await engine.open()
            break
        except LeaseHeld:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.005)
    inbox = Inbox(world.place.ledger_url, steered.clock)
    wrong = ["I3: no turn was quiet"]
    for seconds in STEPS:
        steered.advance(seconds)
        await engine.turn()
        await asyncio.sleep(0)  # what it does beside its turns
        _decide(world, hand, engine, inbox)
        if seconds > 1 and not (wrong := list(_judged(world, hand, session.clock, engine))):
            if not await _arrived(hand):
                continue
            break
    await engine.close()
    inbox.close()
    problems = [f"  problem: {said}" for said in engine.tools.problems.values()] if wrong else []
    end.wrong = [*wrong, *truth.sound(world.place.ledger_url), *leaks(world.folder / "data", _secrets(hand)), *problems]
    _count(world, hand, end)


async def _arrived(hand: Hand) -> bool:
    """Whether nothing is on its way any more; else it has arrived by the next look."""
    if not hand.ask("whole", "GET")["on_their_way"]:
        return True
    await asyncio.sleep(0.1)
    return False


def _decide(world: World, hand: Hand, engine: Engine, inbox: Inbox) -> None:
    """What only a person can: which of several orders is ours. This one knows."""
    reader = engine.tools.reader
    for order in reader.open_orders():
        if order.status is not Status.FROZEN:
            continue
        names = {attempt.client_order_id for attempt in reader.attempts(order.id)}
        venue = Venue.read(hand.ask("whole", "GET"), Hands())
        number = next((there.number for there in venue.orders.values() if there.client_id in names), "")
        payload = {"order": order.id, "broker_id": number, "reason": "looked at E*TRADE's own page"}
        with suppress(DeskError):
            inbox.append(Command(f"settle-{order.id}-{number}", Kind.SETTLE, LOCAL_OWNER, payload))


def _judged(world: World, hand: Hand, clock: Clock, engine: Engine) -> Iterator[str]:
    venue, book = Venue.read(hand.ask("whole", "GET"), hands := world.hands()), Book.read(world.ledger_path)
    walk = Walk(world.seed)
    quotes = {s: ((q := walk.quote(s, clock.now())).bid or q.last, q.ask or q.last) for s in BEGIN}
    yield from settled(venue, book, hands, quotes, lagged=lags(world.seed))
    read = engine.tools.reader
    fresh = type(read)(world.place.ledger_url, clock)
    for info in read.accounts():
        if read.account(info.name) != fresh.account(info.name):
            yield f"I11: {info.name} is told as {read.account(info.name)}, folded anew {fresh.account(info.name)}"


def _secrets(hand: Hand) -> list[str]:
    return [str(secret) for secret in hand.ask("whole", "GET")["secrets"]]


def _count(world: World, hand: Hand, end: End) -> None:
    hands, book = world.hands(), Book.read(world.ledger_path)
    venue = Venue.read(hand.ask("whole", "GET"), hands)
    routes = hand.ask("counters", "GET")["routes"]
    end.calls = sum(many for route, many in routes.items() if route.startswith("orders/"))
    end.placings = routes.get("orders/place", 0) + sum(end.faults[f"place: {name}"] for name in STRUCK_BEFORE)
    new = {number for number, there in venue.orders.items() if there.placed >= world.clock.base}
    end.orders, end.trades = len(new), sum(number in new for number, _, _ in venue.trades)
    end.by_hand = len(hands.numbers)
    moves = [line["details"] for line in book.audit if line["event"] == "move"]
    for order in {move["order"] for move in moves if move["after"] == Status.AMBIGUOUS}:
        ways = [(move["before"], move["after"]) for move in moves if move["order"] == order]
        if any(before in (Status.NOT_PLACED, Status.REFUSED) for before, _ in ways):
            end.uncertain["called not placed, and found after all"] += 1
        elif any(after == Status.FROZEN for _, after in ways):
            end.uncertain["several looked the same: a person said which"] += 1
        elif (Status.AMBIGUOUS, Status.NOT_PLACED) in ways:
            end.uncertain["proved absent after the fence"] += 1
        else:
            end.uncertain["found in the orders list"] += 1
