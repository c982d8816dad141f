"""A fortnight of trading at E*TRADE's simulator on a virtual clock: twelve symbols, a busy trader, a line that fails in
one call of twenty, a sign-in that dies every midnight, a split, a new symbol, dividends, an owner who orders by hand.

python -m tests.campaigns.etrade_week [seed]      after each day: cash to the cent, positions to the share, what rests
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np

from domain.calendars import NEW_YORK, Phase, calendar
from domain.commands import CommandState, Kind
from domain.errors import DeskError
from domain.instruments import KNOWN
from domain.orders import AT_BROKER, UNCERTAIN, OrderType, Purpose, Status
from tests.etrade_desk import MARGIN_KEY
from tests.etrade_trading import TradingDesk, bare_spans, trading_desk

SYMBOLS = [symbol for symbol, what in KNOWN.items() if not what.is_crypto][:12]
SPLIT, RENAMED, BY_HAND = SYMBOLS[3], SYMBOLS[7], (SYMBOLS[10], SYMBOLS[11])
NEW_NAME = "ZZNEW"
BEGINS = datetime(2026, 11, 16, 8, 30, tzinfo=NEW_YORK)  # a Monday; the second week has Thanksgiving and a half day
DAYS = 12
SPLITS_ON, RENAMES_ON, DEPOSIT_ON = date(2026, 11, 19), date(2026, 11, 24), date(2026, 11, 18)
LIMITS = {
    "max_orders_per_minute": 60,
    "max_open_positions": 40,
    "duplicate_window_s": 5,
    "max_symbol_pct": 60.0,
    "max_sector_pct": 400.0,
    "max_group_pct": 400.0,
    "max_gross_pct": 180.0,
    "max_drawdown_pct": 50.0,
}
CHANCE = 0.05
FAULTS: dict[str, dict[str, Any]] = {
    "drop_before": {},
    "drop_after": {},
    "error_before": {"status": 503},
    "error_after": {"status": 500},
    "cut_body": {},
    "bad_json": {},
}
QUIET_S, RESTING_S, UNSURE_S, NIGHT_S = 150.0, 10.0, 6.0, 3600.0
GIVES_UP_AFTER = timedelta(minutes=3)
DECIDES_EVERY, STANDS_TOO_LONG = timedelta(minutes=2), timedelta(minutes=20)
AFTER_A_WISH_S = 6.0
STARTS_IN_S = 3.0
LAGS_ON, LIST_LAG_S = 2, 15  # Wednesdays
ENDS_WITHIN = 400


@dataclass(slots=True)
class Seen:
    """What happened, and a sentence for whatever went wrong."""

    days: int = 0
    turns: int = 0
    cut_short: int = 0
    restarts: int = 0
    sign_ins: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    by_hand: int = 0
    fills: int = 0
    over_limit: int = 0
    rounded: tuple[int, D] = (0, D(0))
    decided: list[str] = field(default_factory=list)
    bare: dict[str, list[float]] = field(default_factory=lambda: {"fill": [], "swap": []})
    worst: list[str] = field(default_factory=list)
    naked: dict[str, float] = field(default_factory=dict)
    alarms: Counter[str] = field(default_factory=Counter)
    unprotected: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Fortnight:
    """The trader, the owner and the weather around one desk."""

    def __init__(self, desk: TradingDesk, seed: int) -> None:
        self.desk, self.seed = desk, seed
        self.chance, self.seen = random.Random(seed), Seen()
        self.symbols = list(SYMBOLS)
        self._wished = self._decided = desk.clock.now()
        self._standing: dict[tuple[str, ...], datetime] = {}
        self._whole: D | None = None  # shares of the split symbol that nobody may touch before a person has spoken

    # Days

    async def live(self, days: int) -> Seen:
        desk = self.desk
        for name, value in LIMITS.items():
            answer = await desk.ask(Kind.SET_LIMIT, name=name, value=value)
            assert answer.state is CommandState.DONE, answer.said
        first = BEGINS.date()
        for day in (first + timedelta(days=n) for n in range(days)):
            await self._day(day)
            self.seen.days += 1
        self._count(days)
        return self.seen

    async def _day(self, day: date) -> None:
        opens = calendar("XNYS").session_open(day)
        if opens is not None:
            await self._asleep(_at(day, 8, 0) + timedelta(minutes=self.chance.randrange(0, 105)))
            await self._sign_in()
            self._storm(day)
            while calendar("XNYS").phase(self.desk.clock.now()) is not Phase.AFTER:
                await self._trade(day)
            self._calm()
            await self._end(day)
        await self._asleep(_at(day + timedelta(days=1), 0, 1))

    async def _trade(self, day: date) -> None:
        """One turn of the day, as long as nothing happens."""
        now = self.desk.clock.now()
        regular = calendar("XNYS").phase(now) is Phase.OPEN
        if regular:
            self._happens(day, now)
            self._wish(now)
            self._patience(now)
        await self._turn(self._step_s(now) if regular else 300.0)
        if self.chance.random() < 0.002:
            await self._restart()
        await self._person()

    async def _asleep(self, until: datetime) -> None:
        """Nobody does anything until then."""
        while (left := (until - self.desk.clock.now()).total_seconds()) > 0:
            await self._turn(min(left, NIGHT_S))

    async def _end(self, day: date) -> None:
        """What the day has left open ends; then the desk is held against the book."""
        desk = self.desk
        for _ in range(ENDS_WITHIN):
            unsure = [o for o in desk.open() if o.status in UNCERTAIN or o.status is Status.CANCELLING]
            if not unsure and not desk.details()["differences"] and not desk.apart():
                break
            await self._turn(5.0)
            await self._person()
        self.seen.problems += [f"{day}: {said}" for said in (*desk.apart(), *desk.faults_of_ledger())]
        if desk.state() != "ready":
            self.seen.problems.append(f"{day}: the desk is {desk.state()}: {desk.problems()}")

    # Turns

    async def _turn(self, seconds: float) -> None:
        """Time and prices move; the desk looks up to five seconds after the market did."""
        desk, late = self.desk, self.chance.uniform(0, min(5.0, seconds / 2))
        self._move(seconds)
        desk.manual.advance(seconds=seconds - late)
        desk.market_moves()
        desk.manual.advance(seconds=late)
        self.seen.turns += 1
        try:
            await desk.turn()
        except DeskError as error:
            self.seen.cut_short += 1
            self.seen.alarms[f"a turn was cut short: {_plain(str(error))}"] += 1
        except Exception as error:
            self.seen.problems.append(f"{desk.clock.now()}: the engine made a mistake: {error!r}")
        assert desk.engine is not None
        for (_, symbol), one in desk.engine.supervisor.naked.items():
            seconds = (desk.clock.now() - one.since).total_seconds()
            self.seen.naked[symbol] = max(self.seen.naked.get(symbol, 0.0), seconds)

    def _move(self, seconds: float) -> None:
        """Each price takes its step, now and then a jump."""
        regular = calendar("XNYS").phase(self.desk.clock.now()) is Phase.OPEN
        for symbol, last in self.desk.last.items():
            size = 0.0008 * (min(seconds, 300.0) / 60) ** 0.5 * (1.0 if regular else 0.3)
            size *= 8 if self.chance.random() < 0.003 else 1
            moved = float(last) * (1 + self.chance.gauss(0, size))
            self.desk.last[symbol] = max(D("5.00"), D(str(round(moved, 2))))
        self.desk.trades = self.chance.choice((400, 4_000, 40_000, 400_000))

    def _step_s(self, now: datetime) -> float:
        """Seconds until the next look: one where something moves."""
        assert self.desk.engine is not None
        open_ = self.desk.open()
        if (now - self._wished).total_seconds() < AFTER_A_WISH_S or self.desk.engine.supervisor.naked:
            return 1.0
        if any(o.status is Status.CANCELLING or _at_once(o) for o in open_):
            return 1.0
        if any(o.status in UNCERTAIN for o in open_):
            return UNSURE_S
        return RESTING_S if any(o.request.purpose is not Purpose.STOP for o in open_) else QUIET_S

    async def _restart(self) -> None:
        await self.desk.stop()
        self.desk.manual.advance(seconds=STARTS_IN_S)
        await self.desk.start()
        self._wished = self.desk.clock.now()  # it turns at once
        self.seen.restarts += 1

    async def _sign_in(self) -> None:
        for _ in range(20):
            try:
                answer = await self.desk.sign_in()
            except (AssertionError, KeyError):  # the line broke in the middle: the link again
                continue
            if answer.state is CommandState.DONE:
                self.seen.sign_ins += 1
                return
        raise AssertionError(f"no sign-in in twenty tries: {self.desk.problems()}")

    # The weather

    def _storm(self, day: date) -> None:
        for number, (name, how) in enumerate(FAULTS.items()):
            seed = self.chance.randrange(10**6) + number
            self.desk.sim.fault(name, where="/v1/", probability=CHANCE / len(FAULTS), seed=seed, **how)
        if day.weekday() == LAGS_ON:
            self.desk.sim.fault("list_lag", seconds=LIST_LAG_S)

    def _calm(self) -> None:
        for fault in self.desk.sim.control("faults", "GET")["faults"]:
            self.seen.faults[fault["name"]] += fault["hits"]
        self.desk.sim.control("faults", "DELETE")

    # What happens from outside

    def _happens(self, day: date, now: datetime) -> None:
        desk, hour = self.desk, now.astimezone(NEW_YORK).hour
        if self.chance.random() < 0.006:
            symbol = self.chance.choice(SYMBOLS)
            desk.sim.control("cash", account=MARGIN_KEY, amount="12.34", type="Dividend", symbol=symbol)
        if self.chance.random() < 0.02:
            self._by_hand()
        if day == DEPOSIT_ON and hour == 12 and not self._done("deposit"):
            desk.sim.control("cash", account=MARGIN_KEY, amount="2500.00", type="Transfer")
        for which, on in ((SPLIT, SPLITS_ON), (RENAMED, RENAMES_ON)):
            if (
                day == on
                and hour < 15
                and which in desk.last
                and not desk.held(which)
                and now > self._wished + GIVES_UP_AFTER
            ):
                desk.append(Kind.PLACE, {"request": self._entry(which)})  # so that there is something to see
                self._wished = now
        if day == SPLITS_ON and hour >= 11 and desk.held(SPLIT) > 0 and not self._done("split"):
            self._whole = desk.shares()[SPLIT] * 4
            desk.sim.control("split", symbol=SPLIT, ratio="4:1")
            desk.last[SPLIT] = round(desk.last[SPLIT] / 4, 2)
            self._wished = now  # the desk looks before it compares
        if day == RENAMES_ON and hour >= 11 and desk.held(RENAMED) > 0 and not self._done("rename"):
            desk.sim.control("symbol", **{"from": RENAMED, "to": NEW_NAME})
            desk.last[NEW_NAME] = desk.last.pop(RENAMED)
            self.symbols.remove(RENAMED)

    def _done(self, what: str) -> bool:
        """Whether it has happened; it has from now on."""
        before = self.seen.commands[f"({what})"]
        self.seen.commands[f"({what})"] = 1
        return before > 0

    def _by_hand(self) -> None:
        symbol = self.chance.choice((*BY_HAND, self.symbols[0]))
        try:
            self.desk.by_hand(symbol, self.chance.choice(("BUY", "BUY", "SELL")), str(self.chance.randrange(1, 8)))
        except ValueError:
            return  # it has no such shares, or no money
        self.seen.by_hand += 1

    # The trader

    def _wish(self, now: datetime) -> None:
        if self.chance.random() > 0.07:
            return
        kind, payload = self._command()
        self.desk.append(kind, payload)
        self.seen.commands[str(kind)] += 1
        self._wished = now

    def _command(self) -> tuple[Kind, dict[str, Any]]:
        desk, chance = self.desk, self.chance
        account, held = desk.account, sorted(s for s, p in desk.reader.positions(desk.account).items() if p.ours > 0)
        what = chance.choices(("enter", "close", "protect", "change"), (10, 3, 3, 1))[0]
        if what == "close" and held:
            percent = chance.choice(("25", "50", "100"))
            return Kind.CLOSE, {
                "account": account,
                "symbol": chance.choice(held),
                "percent": percent,
                "type": "market",
            }
        if what == "protect" and held:
            symbol = chance.choice(held)
            stop = _cents(desk.last.get(symbol, D(100)) * D("0.985"))
            return Kind.PROTECT, {"account": account, "symbol": symbol, "stop": stop}
        entries = [o for o in desk.open() if o.request.purpose is Purpose.ENTRY and o.status in AT_BROKER]
        if what == "change" and entries and (order := chance.choice(entries)).request.limit is not None:
            return Kind.CHANGE, {"order": order.id, "limit": _cents(desk.last[order.request.symbol] * D("1.0005"))}
        return Kind.PLACE, {"request": self._entry(chance.choice([s for s in self.symbols if s not in BY_HAND]))}

    def _entry(self, symbol: str) -> dict[str, Any]:
        chance, last = self.chance, self.desk.last[symbol]
        limit = _cents(last * D(chance.choice(("0.9995", "1.0005")))) if chance.random() < 0.5 else None
        return {
            "account": self.desk.account,
            "symbol": symbol,
            "side": "buy",
            "quantity": str(max(1, int(chance.uniform(500, 9000) / float(last)))),
            "type": "limit" if limit else "market",
            "limit": limit,
            "time_in_force": "day",
            "session": "regular",
            "purpose": "entry",
            "stop_loss": _cents(last * D("0.988")),
            "target": _cents(last * D("1.012")) if chance.random() < 0.7 else None,
        }

    def _patience(self, now: datetime) -> None:
        """A limit that has not filled in three minutes is taken back."""
        for order in self.desk.open():
            waits = order.request.purpose is Purpose.ENTRY and order.status in (Status.WORKING, Status.PARTIAL)
            if waits and now - order.created > GIVES_UP_AFTER:
                self.desk.append(Kind.CANCEL, {"order": order.id})
                self.seen.commands["cancel"] += 1
                self._wished = now

    # The person who decides

    async def _person(self) -> None:
        """Looks at the desk now and then: takes the figures that were to be expected, says which order is ours."""
        desk, now = self.desk, self.desk.clock.now()
        if now - self._decided < DECIDES_EVERY:
            return
        self._decided = now
        details = desk.details()
        keys = {(one["about"], one["here"], one["there"]) for one in details["differences"]}
        self._standing = {key: self._standing.get(key, now) for key in keys}
        for about, here, there in sorted(keys):
            if about in (SPLIT, RENAMED, NEW_NAME):
                await self._accept(about, here, there)
            elif now - self._standing[about, here, there] > STANDS_TOO_LONG:
                self.seen.problems.append(f"{now}: {about} differs and nobody knows why: {here} here, {there} there")
        for one in details["uncertain"]:
            if one["frozen"]:
                await self._settle(one["order"])

    async def _accept(self, about: str, here: str, there: str) -> None:
        if about == SPLIT and self._whole is not None and D(there) != self._whole:
            said = f"{self._whole} {SPLIT} after the split, {there} when a person looked"
            self.seen.problems.append(f"{self.desk.clock.now()}: {said}: it was traded before anybody had decided")
        payload = {"account": self.desk.account, "about": about, "here": here, "there": there, "reason": "it was told"}
        self.seen.decided.append(f"{self.desk.clock.now():%a %d %b %H:%M} UTC, {about}: {here} here, {there} there")
        if about == SPLIT:
            stop = _cents(self.desk.last[SPLIT] * D("0.98"))
            self.desk.append(Kind.PROTECT, {"account": self.desk.account, "symbol": SPLIT, "stop": stop})
        self.desk.append(Kind.ACCEPT, payload)
        self._wished = self.desk.clock.now()

    async def _settle(self, order_id: str) -> None:
        """The owner reads it off the book."""
        name = self.desk.reader.attempts(order_id)[-1].client_order_id
        found = [k.order_id for k in self.desk.book().orders if k.ticket.client_order_id == name]
        told = str(found[0]) if found else ""
        self.desk.append(Kind.SETTLE, {"order": order_id, "broker_id": told, "reason": "looked at E*TRADE's page"})
        self.seen.decided.append(f"{self.desk.clock.now():%a %d %b %H:%M} UTC, order {order_id} is {told or 'none'}")
        self._wished = self.desk.clock.now()

    # Counting

    def _count(self, days: int) -> None:
        desk, seen, book = self.desk, self.seen, self.desk.book()
        now = desk.clock.now()
        mine = [kept for kept in book.orders if kept.ticket.client_order_id != "by hand"]
        ledger = desk.reader.orders_between(BEGINS, now)
        seen.statuses.update(str(order.status) for order in ledger)
        there, here = {str(kept.order_id) for kept in mine}, {o.broker_id for o in ledger if o.broker_id}
        if there != here:
            seen.problems.append(f"orders of the desk only at the broker {there - here}, only here {here - there}")
        if len({kept.ticket.client_order_id for kept in mine}) != len(mine):
            seen.problems.append("an order stands twice at the broker")
        seen.orders, seen.fills = len(mine), len(desk.reader.fills(most=100_000))
        rounded = [a.cash for a in desk.reader.adjustments(desk.account, most=10_000) if "rounds" in a.reason]
        seen.rounded = len(rounded), sum((abs(cash) for cash in rounded), D(0))
        seen.over_limit = sum(desk.sim.control("counters", "GET")["over_limit"].values())
        alone = [s for s in SYMBOLS if s not in (SPLIT, RENAMED, SYMBOLS[0], *BY_HAND)]
        for symbol, why, (since, until) in bare_spans(book, alone, now):
            seconds = (until - since).total_seconds()
            seen.bare[why].append(seconds)
            seen.worst.append(f"{seconds:07.1f} s {symbol} from {since:%a %d %b %H:%M:%S} UTC, {why}")
        seen.worst = sorted(seen.worst, reverse=True)[:5]
        seen.alarms.update(_plain(said) for said in desk.said)
        missed = [what for what in ("split", "rename", "deposit") if days == DAYS and not seen.commands[f"({what})"]]
        seen.problems += [f"there was no {what}" for what in missed]
        seen.unprotected = sorted(said for said in desk.said if said.startswith("UNPROTECTED"))


def _at_once(order: Any) -> bool:
    return order.request.type is OrderType.MARKET or order.status is Status.NEW


def _at(day: date, hour: int, minute: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK)


def _cents(price: D) -> str:
    return f"{price:.2f}"


def _plain(said: str) -> str:
    """A sentence without its figures and names, so that the same ones are counted together."""
    named = re.sub(rf"\b({'|'.join((*SYMBOLS, NEW_NAME))})\b(, \b({'|'.join(SYMBOLS)})\b)*", "SYM", said)
    bare = re.sub(r"o-[0-9a-f]{8,16}|trace [0-9a-f]+", "…", named)
    return re.sub(r"[0-9][0-9.,:]*", "#", bare)[:150]


async def live(folder: Path, seed: int, days: int = DAYS) -> Seen:
    """The fortnight, then everything counted."""
    random.seed(seed)  # the client's pauses are spread by it
    async with trading_desk(folder, begins=BEGINS, armed=False) as desk:
        chance = random.Random(seed)
        desk.last = {s: D(chance.randrange(2_000, 40_000)) / 100 for s in SYMBOLS}
        desk.last.setdefault("SPY", D("650.00"))
        desk.market_moves()
        desk.sim.control("rules", volume_cap=0.05)
        answer = await desk.arm()
        assert answer.state is CommandState.DONE, answer.said
        return await Fortnight(desk, seed).live(days)


def run(evidence: Path, seed: int = 7, days: int = DAYS) -> bool:
    """The campaign; writes what it found and says whether it found nothing."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(live(Path(folder), seed, days))
    evidence.write_text(_report(seen, seed, time.perf_counter() - begin), encoding="utf-8")
    return not seen.problems


def _report(seen: Seen, seed: int, took_s: float) -> str:
    commands = ", ".join(f"{count:,} {kind}" for kind, count in sorted(seen.commands.items()) if kind[0] != "(")
    faults = ", ".join(f"{count:,} {name}" for name, count in sorted(seen.faults.items()) if name in FAULTS)
    statuses = ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(seen.statuses.items()))
    plain = [seconds for symbol, seconds in seen.naked.items() if symbol not in (SPLIT, RENAMED)]
    lines = [
        "# A fortnight at E*TRADE's simulator\n",
        f"{seen.days} days on a virtual clock from Monday 16 November 2026, with Thanksgiving and a half day; "
        f"{len(SYMBOLS)} symbols, seed {seed}: {seen.turns:,} turns of the engine, {seen.restarts} restarts, "
        f"{seen.sign_ins} sign-ins (each died at midnight), {commands}. {seen.orders:,} orders of the desk reached the "
        f"simulator and {seen.by_hand} by hand; {seen.fills:,} fills. In the ledger: {statuses}. "
        f"In {took_s:.0f} s.\n",
        f"On the line: {faults}; on Wednesdays orders stand in the list {LIST_LAG_S} s late. "
        f"Calls over E*TRADE's limits: {seen.over_limit}. Turns cut short: {seen.cut_short}.\n",
        "After each day, and at the end: cash to the cent, positions to the share and the orders that rest, ledger "
        "beside the simulator's book; the ledger against itself; and no order of the desk twice or unknown. "
        f"**Differences: {len(seen.problems)}.** Booked as rounding of fees and averages: {seen.rounded[0]} times, "
        f"${seen.rounded[1]:.2f} in all.\n",
        "Shares of the desk without an order that sells them, from the simulator's book alone, in virtual seconds:\n",
        "| | times | p50 | p99 | longest |",
        "| --- | --- | --- | --- | --- |",
        *(_row(name, seen.bare[why]) for why, name in (("fill", "after a fill"), ("swap", "while exits change"))),
        f"\nBy the desk's own measure {max(plain, default=0.0):.1f} s at most; {seen.naked.get(SPLIT, 0.0):.1f} s in "
        "the symbol that was split, whose stop the broker had cancelled. The longest in the book:\n",
        *(f"- {worst.lstrip('0')}" for worst in seen.worst),
        "\nEach alarm about it:\n",
        *(f"- {said}" for said in seen.unprotected or ["none"]),
        "\nWhat a person decided:\n",
        *(f"- {said}" for said in seen.decided or ["nothing"]),
        "\nWhat the desk said, by how many different sentences:\n",
        *(f"- {count}: {said}" for said, count in seen.alarms.most_common(30)),
    ]
    if seen.problems:
        lines += ["\n## Found\n", *(f"- {problem}" for problem in seen.problems[:40])]
    return "\n".join(lines) + "\n"


def _row(name: str, spans: list[float]) -> str:
    if not spans:
        return f"| {name} | 0 | | | |"
    p50, p99 = np.percentile(spans, [50, 99])
    return f"| {name} | {len(spans)} | {p50:.1f} | {p99:.1f} | {max(spans):.1f} |"


if __name__ == "__main__":
    report = Path(tempfile.mkdtemp()) / "etrade_week.md"
    sound = run(report, *map(int, sys.argv[1:3]))
    print(report.read_text(encoding="utf-8"))
    sys.exit(not sound)
