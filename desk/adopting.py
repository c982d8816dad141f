"""Strategies at work: taken on and let go by command, asked on each bar that closes, carried out turn by turn.

The rule: a strategy never takes the engine down. One that fails is paused with its reason; its stops go on resting.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from backtest.setup import Setup
from backtest.wishes import misfit
from desk.adoptions import (
    Adoption,
    BarDecision,
    Done,
    State,
    adoptions,
    decide,
    keep,
    overlapping,
)
from desk.carrying import Carrying
from desk.choosing import Choosing, Chosen
from desk.claims import Claims
from desk.climbing import Climbing
from desk.last_words import LastWords
from desk.looking import Look, Looking, bucket_of, end_of
from desk.own_book import OwnBook
from desk.records import Waiting
from desk.rungs import Bounds, Rung, Stage, Why, bounds_of, keep_step, stage_of
from desk.sending import cancel
from desk.submit import done, refused
from desk.ticket import TicketFault, text
from desk.tools import Tools
from desk.world import equity_of
from domain.candles import timeframe
from domain.commands import Answer
from domain.errors import DeskError, LeaseHeld, LedgerBusy
from domain.instruments import instrument
from domain.orders import AT_BROKER, Purpose
from domain.params import build
from strategies.base import find

log = logging.getLogger("engine")
ZERO = Decimal(0)
MOST_SYMBOLS = 50
FIELDS = frozenset({"strategy", "params", "symbols", "interval", "setup", "account"})


class Adopting:
    """What becomes of ADOPT and RETIRE, and of the strategies at work."""

    def __init__(self, tools: Tools, claims: Claims) -> None:
        self._tools = tools
        self.looking, self._carrying = Looking(tools), Carrying(tools, claims)
        self.climbing = Climbing(tools, self, self._too_much)
        self._books: dict[str, OwnBook] = {}
        self._stages: dict[str, Stage] = {}
        self._known: list[Adoption] | None = None
        self._todo: dict[tuple[str, str], BarDecision] = {}
        self._words = LastWords()

    # By command

    async def adopt(self, waiting: Waiting) -> Answer | None:
        payload, actor = waiting.command.payload, waiting.command.actor
        if said := self._barred():
            return refused(said)
        wish = self._read(payload, actor, waiting.command.key)
        if (found := overlapping(self.working(), wish.symbols)) is not None:
            symbol, other = found
            return refused(
                f"{symbol} is traded by {other.label} already ({other.id}): retire that one, or leave {symbol} out."
            )
        if said := misfit(wish.setup) or await self._too_much(wish):
            return refused(said)
        research = self._tools.place.needs_arming or self._tools.risk.limits.backtest_before_paper
        with self._tools.write() as write:
            keep(write, wish, State.WORKING, reason="adopted", actor=actor)
            said = f"{wish.label} trades from the next closed bar on, in account {wish.account} with {_money(wish)}."
            if research:
                keep_step(write, wish, Rung.RESEARCH, Why.ADOPTED, reason="adopted", actor=actor)
                said = f"{wish.label} is in research from the next closed bar on: it is asked, and nothing is ordered."
            answer = done(f"{said}{self._warned(wish)}", adoption=wish.id)
            write.answer_command(waiting.command.key, answer, actor=actor)
        self._known = None
        return None

    async def retire(self, waiting: Waiting) -> Answer | None:
        id_, actor = text(waiting.command.payload, "id"), waiting.command.actor
        one = next((each for each in self.working() if each.id == id_), None)
        if one is None:
            known = ", ".join(each.id for each in self.working()) or "none"
            return refused(f"No strategy at work is called {id_!r}: there are {known}.")
        await self.take_entries_away(one, actor, f"{one.label} is retired", one.symbols)
        held = {s: own for s in one.symbols if (own := self._book(one).refresh(self._tools.reader).own(s))}
        left = ", ".join(f"{own.normalize():f} {symbol}" for symbol, own in held.items())
        stays = f" What it holds stays, under its stops, and is yours now: {left}." if left else ""
        with self._tools.write() as write:
            keep(write, one, State.RETIRED, reason=f"retired by {actor}", actor=actor)
            answer = done(f"{one.label} trades no more.{stays}", adoption=one.id)
            write.answer_command(waiting.command.key, answer, actor=actor)
        self._forget(one)
        return None

    def working(self) -> list[Adoption]:
        """Every strategy at work, paused ones too."""
        if self._known is None:
            self._known, reader = adoptions(self._tools.reader), self._tools.reader
            live = self._tools.place.needs_arming
            self._stages = {one.id: stage_of(reader, one, live=live) for one in self._known}
            for one in self._known:
                self.climbing.remember(one, self._stages[one.id])
            self._words.read(reader, self._known)
            self._todo = {(one.adoption, one.symbol): one for one in self._words.ordered}
        return self._known

    def stage(self, one: Adoption) -> Stage:
        """The rung it is on."""
        self.working()
        return self._stages[one.id]

    def changed(self) -> None:
        """Somebody's state or rung is another one now."""
        self._known = None

    # Each turn

    async def turn(self) -> None:
        """Ask who is to be asked, decide, and do what was decided."""
        await self._each(self._whole)

    async def again(self) -> None:
        """What waited for shares to be freed in this turn."""
        await self._each(self._carry)

    def symbols(self) -> set[str]:
        """What is traded by strategies at work: their prices are needed at any moment."""
        return {symbol for one in self._known or () for symbol in one.symbols}

    async def close(self) -> None:
        """Nothing goes on beside the turns."""
        await self.looking.close()
        await self.climbing.close()

    async def _each(self, work: Callable[[Adoption], Awaitable[None]]) -> None:
        """Each for itself: a fault of one stops neither another nor the turn, which has stops to mind."""
        try:
            for one in list(self.working()):
                await self._guarded(one, work)
        except (LeaseHeld, LedgerBusy):
            raise
        except Exception as error:
            log.exception("the strategies at work failed")
            self._tools.note("strategies", f"The strategies at work cannot be read: {error or type(error).__name__}")

    async def _guarded(self, one: Adoption, work: Callable[[Adoption], Awaitable[None]]) -> None:
        try:
            await work(one)
        except (LeaseHeld, LedgerBusy):
            raise
        except DeskError as error:
            self._carrying.forget(one)
            self._tools.note(f"strategy {one.id}", f"{one.label} waits: {error}"[:300])
        except Exception as error:
            self._carrying.forget(one)
            log.exception("%s failed", one.label)
            self._pause(one, f"the desk could not work with it: {error or type(error).__name__}")
        else:
            self._tools.clear(f"strategy {one.id}")

    async def _whole(self, one: Adoption) -> None:
        if one.state is State.WORKING and (look := await self.looking.take(one)) is not None:
            one = self._look(one, look)
        await self._carry(one)
        await self.climbing.night(one)

    def _look(self, one: Adoption, look: Look) -> Adoption:
        """Write down what was decided; the adoption as it is then."""
        about = f"candles {one.id}"
        if look.errors:
            self._tools.note(about, f"{one.label} cannot be asked: {'; '.join(look.errors.values())}"[:300])
        else:
            self._tools.clear(about)
        book = self._book(one).refresh(self._tools.reader)
        prices = {s: price for s in one.symbols if (price := self._tools.facts.price(s)) is not None}
        moments = {symbol: self._market_now(symbol) for symbol in one.symbols}
        choosing = Choosing(self._words, one, book, self._taken(one, book), prices, self._bounds(one))
        chosen = choosing.choose(look.seen, moments)
        self._write(one, chosen, look)
        if look.errors or any(self._owes(one, symbol, look) for symbol in one.symbols):
            self.looking.owed(one)
        if not look.faults:
            return one
        self._known = None
        self._tools.note(f"paused {one.id}", f"{one.label} is paused: {_fault(look.faults)}"[:300])
        return next(each for each in self.working() if each.id == one.id)

    def _write(self, one: Adoption, chosen: list[Chosen], look: Look) -> None:
        """The decisions, in one transaction; where it fails everything is read again, and looked at again soon."""
        if not chosen and not look.faults:
            return
        known, words, self._known, self._words = self._known, self._words, None, LastWords()
        try:
            with self._tools.write() as write:
                for decision, signal in chosen:
                    decide(write, decision, signal)
                if look.faults:
                    keep(write, one, State.PAUSED, reason=_fault(look.faults), actor="engine")
        except DeskError:
            self.looking.owed(one)
            raise
        self._known, self._words = known, words
        words.keep(replace(decision, at=write.now) for decision, _ in chosen)
        for decision, _ in chosen:
            if decision.done is Done.ORDERED:
                self._todo[decision.adoption, decision.symbol] = decision

    async def _carry(self, one: Adoption) -> None:
        for symbol in one.symbols:
            decision = self._todo.get((one.id, symbol))
            if decision is None:
                continue
            book, now = self._book(one), self._market_now(symbol)
            if await self._carrying.step(one, decision, book, now, self._bounds(one)):
                del self._todo[one.id, symbol]

    def _pause(self, one: Adoption, reason: str) -> None:
        if one.state is State.WORKING:
            with self._tools.write() as write:
                keep(write, one, State.PAUSED, reason=reason[:300], actor="engine")
        self._known = None
        self._tools.note(f"paused {one.id}", f"{one.label} is paused: {reason}"[:300])

    # What is looked at

    def _book(self, one: Adoption) -> OwnBook:
        return self._books.setdefault(one.id, OwnBook(one))

    def _bounds(self, one: Adoption) -> Bounds:
        """What its rung lets it open at this moment."""
        stage = self.stage(one)
        equity = equity_of(self._tools, one.account) if stage.live else None
        return bounds_of(stage, self._tools.risk.limits, equity) if stage.live else Bounds(stage)

    def _market_now(self, symbol: str) -> datetime:
        """The moment the market's prices are of: earlier than ours where they come late."""
        quote = self._tools.facts.quotes.get(symbol)
        return self._tools.now() - timedelta(seconds=quote.delayed_s if quote is not None else 0)

    def _taken(self, one: Adoption, book: OwnBook) -> frozenset[str]:
        """The symbols somebody else holds or orders."""
        entries = (o.request for o in self._tools.reader.open_orders(one.account) if o.request.purpose is Purpose.ENTRY)
        ordered = {asked.symbol for asked in entries if not asked.signal_id}
        return frozenset({s for s in one.symbols if book.foreign(s)} | ordered)

    def _owes(self, one: Adoption, symbol: str, look: Look) -> bool:
        """Whether the source still owes the bar before the one that forms now."""
        seen = look.seen.get(symbol)
        now = self._market_now(symbol)
        if seen is None or one.tf.daily:
            return False
        forming = bucket_of(symbol, one.tf, now)
        last = end_of(symbol, one.tf, seen.candles.index[-1].to_pydatetime())
        behind = forming / 1e9 - last.timestamp()
        return 0 < behind <= one.tf.seconds

    async def take_entries_away(self, one: Adoption, actor: str, why: str, symbols: Iterable[str]) -> None:
        """Cancel its entries in these symbols that are on their way."""
        theirs = set(symbols)
        for order in self._tools.reader.open_orders(one.account):
            mine = order.request.signal_id and order.request.symbol in theirs
            if mine and order.request.purpose is Purpose.ENTRY and order.status in AT_BROKER:
                await cancel(self._tools, order, reason=why, actor=actor)

    def _forget(self, one: Adoption) -> None:
        self._known = None
        self.looking.forget(one)
        self._carrying.forget(one)
        self._books.pop(one.id, None)
        self._todo = {key: decision for key, decision in self._todo.items() if key[0] != one.id}
        kinds = ("candles", "paused", "drift", "replay")
        for about in (*(f"{kind} {one.id}" for kind in kinds), *(f"strategy {one.id} {s}" for s in one.symbols)):
            self._tools.clear(about)

    # What may be adopted

    def _barred(self) -> str:
        return "" if self._tools.facts.bars is not None else "This desk has no candles to ask a strategy about."

    def _read(self, payload: dict[str, Any], actor: str, key: str) -> Adoption:
        """What is asked for, each part checked; a fault names it."""
        if unknown := sorted(set(payload) - FIELDS):
            raise TicketFault(f"an adoption has no field {unknown[0]!r}: it has {', '.join(sorted(FIELDS))}")
        name, params = text(payload, "strategy"), payload.get("params") or {}
        if not isinstance(params, dict):
            raise TicketFault(f"params must be given by name: got {params!r}"[:200])
        build(find(name), params)
        interval = timeframe(text(payload, "interval")).name
        setup = _kept_by_the_desk(Setup.of(payload.get("setup") or {}))
        account = str(payload.get("account") or "") or self._usual_account()
        if account not in {info.name for info in self._tools.reader.accounts()}:
            raise TicketFault(f"no account is called {account!r}")
        symbols, now = _symbols(payload.get("symbols")), self._tools.now()
        return Adoption(id_of(key), account, name, params, symbols, interval, setup, actor, now)

    def _usual_account(self) -> str:
        """The one that is picked; on paper the first."""
        reader = self._tools.reader
        return reader.arming().account or next((info.name for info in reader.accounts()), "")

    async def _too_much(self, wish: Adoption) -> str:
        """Why every entry of it would be refused under the limits; '' where it need not be."""
        for symbol in self._tools.reader.positions(wish.account):
            await self._tools.facts.quote(symbol)
        equity, limits, setup = equity_of(self._tools, wish.account), self._tools.risk.limits, wish.setup
        if equity is None or setup.sizing == "shares":
            return ""
        share = setup.fraction if setup.sizing == "equity" else setup.max_position_pct / 100
        order = Decimal(str(setup.cash * min(share, setup.leverage)))
        if self._tools.place.needs_arming:
            order = min(order, equity * Decimal(str(limits.max_live_position_pct)) / 100)
        most = min(equity * Decimal(str(limits.max_position_pct)) / 100, Decimal(str(limits.max_notional)))
        if order <= most:
            return ""
        return (
            f"A full position of it is worth {order:,.0f}; one order of account {wish.account} may be {most:,.0f} "
            f"(max_position_pct, max_notional): adopt at most {most / Decimal(str(share)):,.0f} of money, or with "
            "a smaller share of it."
        )

    def _warned(self, wish: Adoption) -> str:
        limits = self._tools.risk.limits
        short = " Short sales would be refused: shorting is off in the limits."
        return short if wish.setup.short and not limits.shorting else ""


def id_of(command_key: str) -> str:
    """The adoption a command makes: the same command, the same adoption."""
    return "s-" + hashlib.sha256(command_key.encode()).hexdigest()[:8]


def _kept_by_the_desk(setup: Setup) -> Setup:
    """The setup as a desk can keep it: exits counted from the decision. ValueError names what it cannot."""
    if setup.max_bars:
        raise TicketFault("max_bars: a strategy at work holds as long as it wants; adopt it with 0")
    if setup.size_at != "close":
        raise TicketFault("size_at must be close: nobody knows the open when an order is sent")
    return replace(setup, exits_from="signal")


def _symbols(given: object) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(one, str) for one in given):
        raise TicketFault(f"symbols must be a list of symbols: got {given!r}"[:200])
    found = tuple(dict.fromkeys(instrument(one).symbol for one in given))
    if not 1 <= len(found) <= MOST_SYMBOLS:
        raise TicketFault(f"a strategy trades 1 to {MOST_SYMBOLS} symbols: got {len(found)}")
    return found


def _money(wish: Adoption) -> str:
    return f"{wish.setup.cash:,.0f} of money"


def _fault(faults: dict[str, str]) -> str:
    return "; ".join(f"{symbol}: {said}" for symbol, said in _once(faults.items()))[:300]


def _once(faults: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Each sentence with the first symbol it was said of."""
    told: dict[str, str] = {}
    for symbol, said in faults:
        told.setdefault(said, symbol)
    return [(symbol, said) for said, symbol in told.items()]
