"""Who asks the desk in a run of the campaign, and who orders by hand at the broker beside it."""

from __future__ import annotations

import random
import sqlite3
import zlib
from contextlib import closing, suppress
from decimal import Decimal as D
from typing import Any

from desk.authority import LOCAL_OWNER
from desk.closing import order_id_of
from desk.inbox import Inbox
from desk.ticket import to_json
from domain.commands import Command, Kind
from domain.errors import DeskError, LedgerBusy
from domain.orders import OrderRequest, OrderType, Side, TimeInForce
from tests.faults.etrade_engines import World
from tests.faults.etrade_venue import BEGIN, Hand, Walk

ACCOUNT_NAME = "••••0017"
BY_HAND, LEAP = object(), object()  # in a script, among the desk's own commands
LEAPS_S = (340.0, 420.0)  # further than the fence
Wish = tuple[Any, Any]


def script(chance: random.Random) -> list[Wish]:
    """What people ask for, in order, and now and then an order by hand. Entries are worked out when they are asked."""
    found: list[Wish] = [(Kind.PLACE, chance.random()) for _ in range(2)]
    often = [Kind.PLACE] * 6 + [Kind.CLOSE] * 4 + [Kind.PROTECT] * 2 + [Kind.CANCEL_ALL, Kind.CANCEL]
    found += [(chance.choice(often), chance.random()) for _ in range(chance.randint(8, 16))]
    if chance.random() < 0.25:
        at = chance.randrange(2, len(found))
        found.insert(at, (Kind.KILL, {"level": chance.randint(1, 4), "reason": "a test", "typed": "FLATTEN"}))
        if chance.random() < 0.7:
            found.insert(chance.randint(at + 1, len(found)), (Kind.RE_ARM, {"reason": "a test"}))
    if chance.random() < 0.3:
        found.append((Kind.RE_ARM, {"reason": "a test"}))
    if chance.random() < 0.5:
        for _ in range(chance.randint(1, 4)):
            found.insert(chance.randrange(len(found)), (BY_HAND, chance.random()))
    if chance.random() < 0.35:
        found.insert(chance.randrange(2, len(found)), (LEAP, chance.random()))
    return found


def entry(symbol: str, last: D, quantity: int, limit: D | None, target: D) -> dict[str, Any]:
    """What a ticket would ask for: a purchase with its stop four per cent below, and its target."""
    request = OrderRequest(
        ACCOUNT_NAME,
        symbol,
        Side.BUY,
        D(quantity),
        OrderType.MARKET if limit is None else OrderType.LIMIT,
        limit=limit,
        time_in_force=TimeInForce.DAY if limit is None else TimeInForce.GTC,
        stop_loss=(last * D("0.96")).quantize(D("0.01")),
        target=(last * target).quantize(D("0.01")),
    )
    return {"request": to_json(request)}


class People:
    """Who asks the desk, and who orders by hand beside it: in three runs of ten the same order, just before."""

    def __init__(self, world: World, chance: random.Random, script: list[Wish]) -> None:
        self._world, self._script = world, script
        self._inbox = Inbox(f"sqlite:///{world.ledger_path}", world.clock)
        self._hand, self._walk = Hand(world.url), Walk(world.seed)
        self._look_alike = chance.choices(("before", "after", ""), (0.3, 0.1, 0.6))[0]

    def ask(self) -> None:
        """The next thing in the script."""
        if not self._script:
            return
        kind, value = self._script[0]
        if kind is BY_HAND:
            self._by_hand(random.Random(value))
        elif kind is LEAP:
            self._world.clock.jump(random.Random(value).uniform(*LEAPS_S))
            self._world.note("leap")
        elif not self._command(kind, value):
            return
        self._script.pop(0)

    def all_that_is_left(self) -> None:
        """What was asked while nobody lived."""
        while self._script:
            left = len(self._script)
            self.ask()
            if len(self._script) == left:
                break

    def close(self) -> None:
        self._inbox.close()

    def _command(self, kind: Kind, value: Any) -> bool:
        payload = value if isinstance(value, dict) else self._payload(kind, random.Random(value))
        name = zlib.crc32(f"{self._world.seed} {kind} {value}".encode())
        key = f"wish-{kind.name.lower()}-{name:08x}"
        twin = self._look_alike if kind is Kind.PLACE and random.Random(name).random() < 0.7 else ""
        if twin == "before":
            self._same(payload["request"], order_id_of(key))
        try:
            self._inbox.append(Command(key, kind, LOCAL_OWNER, payload))
        except LedgerBusy as error:
            self._world.note(f"wrong I0: a wish was turned away: {error}")
            return False
        except DeskError:
            return False
        if twin == "after":
            self._same(payload["request"], "")
        return True

    def _payload(self, kind: Kind, chance: random.Random) -> dict[str, Any]:
        bought = self._of_orders("symbol", "purpose = 'entry' AND filled <> '0'")
        symbol = chance.choice(bought if bought and kind in (Kind.CLOSE, Kind.PROTECT) else list(BEGIN))
        last = self._walk.last(symbol, self._world.clock.now())
        where = {"account": ACCOUNT_NAME, "symbol": symbol}
        if kind is Kind.CLOSE:
            return {**where, "percent": chance.choice(["25", "50", "100"]), "type": "market"}
        if kind is Kind.PROTECT:
            return {**where, "stop": str((last * D("0.98")).quantize(D("0.01")))}
        if kind is Kind.CANCEL_ALL:
            return {"account": "", "symbol": ""}
        if kind is Kind.CANCEL:
            return {"order": chance.choice(self._of_orders("id", "status = 'WORKING'") or ["o-none"])}
        away = BEGIN[symbol] * D(chance.randint(-8, 4)) / 1000
        limit = (last + away).quantize(D("0.01")) if chance.random() < 0.4 else None
        return entry(symbol, last, chance.choice([10, 25]), limit, D(chance.choice(["1.004", "1.03"])))

    def _of_orders(self, what: str, where: str) -> list[str]:
        """What the ledger says of orders just now."""
        with closing(sqlite3.connect(f"file:{self._world.ledger_path}?mode=ro", uri=True, timeout=5.0)) as db:
            return [row[0] for row in db.execute(f"SELECT DISTINCT {what} FROM orders WHERE {where} ORDER BY 1")]

    # By hand

    def _same(self, request: dict[str, Any], before: str) -> None:
        """The same order by hand; noted by its number, and by the order of ours it came before."""
        how = {"price_type": "LIMIT", "limit": request["limit"], "term": "GOOD_UNTIL_CANCEL"}
        number = self._place(request["symbol"], "BUY", int(D(request["quantity"])), how if request["limit"] else {})
        if number:
            self._world.note(f"hand {number} {before}".strip())
            self._world.note("look-alike")

    def _by_hand(self, chance: random.Random) -> None:
        """Shares bought beside the desk, at market or far below it, and now and then sold again."""
        symbol = chance.choice(list(BEGIN))
        last = self._walk.last(symbol, self._world.clock.now())
        far = {"price_type": "LIMIT", "limit": str((last * D("0.9")).quantize(D("0.01"))), "term": "GOOD_FOR_DAY"}
        own = self._own(symbol) if chance.random() < 0.4 else 0
        if own:
            number = self._place(symbol, "SELL", own, {})
        else:
            number = self._place(symbol, "BUY", chance.choice([3, 10, 25]), far if chance.random() < 0.3 else {})
        if number:
            self._world.note(f"hand {number}")

    def _own(self, symbol: str) -> int:
        """What was bought by hand, and not sold by hand since."""
        orders, numbers = self._hand.book()["orders"], self._world.hands().numbers
        mine = [one for one in orders if str(one["orderId"]) in numbers and one["symbol"] == symbol]
        sold = sum((D(one["quantity"]) for one in mine if one["action"] == "SELL"), D(0))
        return int(sum((D(one["filled"]) for one in mine if one["action"] == "BUY"), D(0)) - sold)

    def _place(self, symbol: str, action: str, quantity: int, how: dict[str, str]) -> int:
        with suppress(ValueError):
            return self._hand.order(symbol, action, quantity, **how)
        return 0
