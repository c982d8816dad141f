"""Up and down the ladder: PROMOTE, DEMOTE, PAUSE and RESUME, and what a night's comparison has to say.

The rule: up only by a person, with every need met at that moment; down by anybody who trades, and by drift itself. A
step and the answer to who asked for it are one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Protocol

from desk.adoptions import Adoption, State, keep
from desk.claims import Wait
from desk.ladder import Standing, above, below, standing
from desk.nightly import Nightly
from desk.nights import Night
from desk.records import Waiting
from desk.rungs import Rung, Stage, Why, keep_step
from desk.submit import done, refused
from desk.ticket import TicketFault, text
from desk.tools import Tools
from desk.world import equity_of
from domain.commands import Answer
from domain.instruments import instrument

LOOKED_FOR_S = 0.02
MOST_REASON = 200


class AtWork(Protocol):
    """What climbing asks of the strategies at work (`desk.adopting.Adopting`)."""

    def working(self) -> list[Adoption]: ...
    def stage(self, one: Adoption) -> Stage: ...
    def changed(self) -> None:
        """Somebody's state or rung is another one now."""
        ...

    async def take_entries_away(self, one: Adoption, actor: str, why: str, symbols: Iterable[str]) -> None: ...


class Climbing:
    """What becomes of the commands of the ladder, and of its nights."""

    def __init__(self, tools: Tools, strategies: AtWork, suits: Callable[[Adoption], Awaitable[str]]) -> None:
        self._tools, self._strategies, self._suits = tools, strategies, suits
        self.nightly = Nightly(tools)
        self._weighed: dict[str, asyncio.Task[Standing]] = {}

    # By command

    async def promote(self, waiting: Waiting) -> Answer | None:
        key, actor, payload = waiting.command.key, waiting.command.actor, waiting.command.payload
        one = self._found(payload)
        stage, live = self._strategies.stage(one), self._tools.place.needs_arming
        higher = above(stage.rung, live=live)
        if higher is None:
            return refused(f"{one.label} is on the highest rung of this desk already: {stage.rung}.")
        if live and not self._tools.authority.owns(actor):
            return refused(f"{actor} may not let a strategy trade real money: only an owner may.")
        symbol = _one_symbol(one, payload) if higher is Rung.SMALL else ""
        found = await self._weigh(key, one)
        if found.stage != stage or found.next is not higher:
            raise Wait("it moved meanwhile: weighed anew")
        if found.bound and found.missing:
            missing = [[need.name, need.said] for need in found.missing]
            return refused(f"{one.label} stays in {stage.rung}. {_still(found)}", missing=missing)
        if live and (said := await self._suits(one)):
            return refused(said)
        with self._tools.write() as write:
            keep_step(write, one, higher, Why.PROMOTED, reason=_grounds(found), actor=actor, symbol=symbol)
            only = f", {symbol} only" if symbol else ""
            answer = done(f"{one.label} is on the rung {higher} now{only}.", adoption=one.id, rung=higher)
            write.answer_command(key, answer, actor=actor)
        self._moved(one)
        return None

    async def demote(self, waiting: Waiting) -> Answer | None:
        payload, actor = waiting.command.payload, waiting.command.actor
        one = self._found(payload)
        stage = self._strategies.stage(one)
        if (lower := below(stage)) is None:
            return refused(f"{one.label} is in research already, where nothing is ordered.")
        rung, symbol = lower
        why = str(payload.get("reason") or "").strip()[:MOST_REASON]
        reason = why or "asked for"
        await self._take_entries_away(one, stage, rung, symbol, actor)
        with self._tools.write() as write:
            keep_step(write, one, rung, Why.DEMOTED, reason=reason, actor=actor, symbol=symbol)
            answer = done(
                f"{one.label} is on the rung {rung} now. What it holds stays, under its stops, and may only shrink.",
                adoption=one.id,
                rung=rung,
            )
            write.answer_command(waiting.command.key, answer, actor=actor)
        self._moved(one)
        return None

    async def pause(self, waiting: Waiting) -> Answer | None:
        actor, one = waiting.command.actor, self._found(waiting.command.payload)
        if one.state is State.PAUSED:
            return refused(f"{one.label} is paused already: {one.reason}")
        await self._strategies.take_entries_away(one, actor, f"{one.label} is paused", one.symbols)
        with self._tools.write() as write:
            keep(write, one, State.PAUSED, reason=f"paused by {actor}", actor=actor)
            answer = done(
                f"{one.label} is asked no more until it is resumed. Its stops go on resting.", adoption=one.id
            )
            write.answer_command(waiting.command.key, answer, actor=actor)
        self._strategies.changed()
        return None

    async def resume(self, waiting: Waiting) -> Answer | None:
        actor, one = waiting.command.actor, self._found(waiting.command.payload)
        if one.state is not State.PAUSED:
            return refused(f"{one.label} is not paused.")
        if self._strategies.stage(one).live and not self._tools.authority.owns(actor):
            return refused(f"{actor} may not let a strategy trade real money again: only an owner may.")
        with self._tools.write() as write:
            keep(write, one, State.WORKING, reason=f"resumed by {actor}", actor=actor)
            answer = done(f"{one.label} is asked again from the next closed bar on.", adoption=one.id)
            write.answer_command(waiting.command.key, answer, actor=actor)
        self._tools.clear(f"paused {one.id}")
        self._strategies.changed()
        return None

    def _found(self, payload: dict[str, object]) -> Adoption:
        id_ = text(payload, "id")
        one = next((each for each in self._strategies.working() if each.id == id_), None)
        if one is None:
            known = ", ".join(each.id for each in self._strategies.working()) or "none"
            raise TicketFault(f"No strategy at work is called {id_!r}: there are {known}.")
        return one

    async def _weigh(self, key: str, one: Adoption) -> Standing:
        """What it needs, read beside the turns; the command waits until it is."""
        if (task := self._weighed.get(key)) is None:
            tools = self._tools
            prices = {s: price for s in one.symbols if (price := tools.facts.price(s)) is not None}
            equity = equity_of(tools, one.account)
            looking = asyncio.to_thread(
                standing, tools.place, tools.reader, tools.clock, one, prices=prices, equity=equity
            )
            task = self._weighed[key] = asyncio.create_task(looking)
        await asyncio.wait([task], timeout=LOOKED_FOR_S)
        if not task.done():
            raise Wait("what it needs is being read")
        del self._weighed[key]
        return task.result()

    def _moved(self, one: Adoption) -> None:
        self._tools.clear(f"drift {one.id}")
        self._strategies.changed()

    async def _take_entries_away(self, one: Adoption, stage: Stage, rung: Rung, symbol: str, actor: str) -> None:
        shut = [s for s in stage.began if rung is Rung.RESEARCH or s != symbol]
        await self._strategies.take_entries_away(one, actor, f"{one.label} goes down a rung", shut)

    # Each turn

    async def night(self, one: Adoption) -> None:
        """Begin tonight's comparison where it is due; judge one that is there."""
        stage = self._strategies.stage(one)
        if (found := await self.nightly.take(one, stage)) is None:
            return
        limits = self._tools.risk.limits
        judged = replace(found, beyond=found.judged(limits))
        row = [*(night.drifts for night in stage.nights), judged.drifts][-limits.drift_nights :]
        lower = below(stage) if len(row) == limits.drift_nights and all(row) else None
        if lower is not None:
            await self._take_entries_away(one, stage, *lower, "engine")
        self._keep(one, stage, judged, lower)

    def _keep(self, one: Adoption, stage: Stage, night: Night, lower: tuple[Rung, str] | None) -> None:
        """The comparison and, with it, the step down that follows from it."""
        said, by = night.words, "engine"
        with self._tools.write() as write:
            keep_step(write, one, stage.rung, Why.NIGHT, reason=said, actor=by, symbol=stage.symbol, night=night)
            if lower is not None:
                keep_step(write, one, lower[0], Why.DEMOTED, reason=said, actor=by, symbol=lower[1])
        if lower is not None:
            self._tools.note(f"drift {one.id}", demoted_words(one, lower[0], said))
        elif night.drifts:
            self._tools.note(f"drift {one.id}", f"{one.label}: {said}"[:300])
        else:
            self._tools.clear(f"drift {one.id}")
        self._strategies.changed()

    def remember(self, one: Adoption, stage: Stage) -> None:
        """A step down by drift is said until a person has moved the strategy, whatever engine runs."""
        last = stage.last_step
        if last is not None and last.by_drift:
            self._tools.note(f"drift {one.id}", demoted_words(one, stage.rung, last.reason))

    async def close(self) -> None:
        """Nothing goes on beside the turns."""
        await self.nightly.close()
        for task in self._weighed.values():
            with contextlib.suppress(Exception):
                await task
        self._weighed.clear()


def _grounds(found: Standing) -> str:
    """On what it goes up: every need that is met, or what is missing where nothing is enforced."""
    if found.missing:
        return f"nothing is enforced here. {_still(found)}"
    return "every need met: " + " ".join(need.said for need in found.needs)


def _still(found: Standing) -> str:
    """What is missing, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for need in found.missing:
        by_reason.setdefault(need.said, []).append(need.name)
    return f"Missing for {found.next}: " + " ".join(f"{', '.join(names)}: {said}" for said, names in by_reason.items())


def demoted_words(one: Adoption, rung: Rung, why: str) -> str:
    return f"{one.label} went down to {rung} by itself. {why}"[:300]


def _one_symbol(one: Adoption, payload: dict[str, object]) -> str:
    """The one symbol it trades small: the one that is named, or the only one there is."""
    named = payload.get("symbol")
    if not named and len(one.symbols) == 1:
        return one.symbols[0]
    if not isinstance(named, str) or not named:
        raise TicketFault(f"Small is one symbol: name it, one of {', '.join(one.symbols)}.")
    symbol = instrument(named).symbol
    if symbol not in one.symbols:
        raise TicketFault(f"{one.label} does not trade {symbol}: name one of {', '.join(one.symbols)}.")
    return symbol
