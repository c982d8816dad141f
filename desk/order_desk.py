"""The order desk: every command a door may append, done once and answered, or refused with the reason.

The rule: who asks is checked first, and whatever is not expressly allowed is refused. A command is answered in the
same transaction as what it did. One that must wait (for a cancel to be confirmed) stays queued and is looked at again
each turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from desk.adopting import Adopting
from desk.arming import Arming
from desk.authority import Ruling, name_of
from desk.changing import Changing
from desk.claims import Claims, Wait
from desk.closing import Closing
from desk.deciding import Deciding
from desk.placing import Placing
from desk.records import Waiting
from desk.signing_in import SigningIn
from desk.submit import refused
from desk.switches import Switches
from desk.tools import Key, Tools
from desk.valuation import Valuation
from domain.clock import ago
from domain.commands import Answer, Command, Kind
from domain.errors import DeskError, LeaseHeld, LedgerBusy

STALE_AFTER = timedelta(seconds=90)
# What may still be done however long it waited for an engine: it stops or undoes.
NEVER_STALE = frozenset(
    {Kind.KILL, Kind.CANCEL, Kind.CANCEL_ALL, Kind.DISARM, Kind.RETIRE, Kind.DEMOTE, Kind.PAUSE_STRATEGY}
)

Handler = Callable[[Waiting], Awaitable[Answer | None]]


class OrderDesk:
    """Does what the inbox asks, for the engine that holds the lease."""

    def __init__(self, tools: Tools, valuation: Valuation) -> None:
        self._tools, self._claims = tools, Claims()
        closing, changing = Closing(tools, self._claims), Changing(tools, self._claims)
        placing, self._switches = Placing(tools, closing), Switches(tools, self._claims, valuation)
        self.signing_in = SigningIn(tools)
        arming, deciding = Arming(tools), Deciding(tools)
        self.strategies = Adopting(tools, self._claims)
        self._handlers: dict[Kind, Handler] = {
            Kind.PREVIEW: placing.preview,
            Kind.PLACE: placing.place,
            Kind.CANCEL: changing.cancel,
            Kind.CANCEL_ALL: changing.cancel_all,
            Kind.CHANGE: changing.change,
            Kind.CLOSE: closing.close,
            Kind.PROTECT: closing.protect,
            Kind.KILL: self._switches.kill,
            Kind.RE_ARM: self._switches.re_arm,
            Kind.RESET_BREAKER: self._switches.reset_breaker,
            Kind.SET_LIMIT: self._switches.set_limit,
            Kind.SIGN_IN: self.signing_in.do,
            Kind.PICK_ACCOUNT: arming.pick,
            Kind.ARM: arming.arm,
            Kind.DISARM: arming.disarm,
            Kind.ACCEPT: deciding.accept,
            Kind.SETTLE: deciding.settle,
            Kind.ADOPT: self.strategies.adopt,
            Kind.RETIRE: self.strategies.retire,
            Kind.PROMOTE: self.strategies.climbing.promote,
            Kind.DEMOTE: self.strategies.climbing.demote,
            Kind.PAUSE_STRATEGY: self.strategies.climbing.pause,
            Kind.RESUME_STRATEGY: self.strategies.climbing.resume,
        }

    @property
    def claims(self) -> dict[Key, Decimal]:
        """What commands are about to close of each position."""
        return self._claims.all()

    async def enforce(self) -> None:
        """What the kill switch asks for, each turn until it is done."""
        await self._switches.enforce()

    async def do(self, waiting: Waiting) -> None:
        """One command: done or refused and answered, or left for the next turn."""
        command = waiting.command
        try:
            answer = await self._answer(waiting)
        except Wait:
            return
        except (LeaseHeld, LedgerBusy):
            raise
        except (DeskError, ValueError, LookupError) as error:
            answer = refused(str(error.args[0] if error.args else error))
        if answer is not None:
            with self._tools.write() as write:
                write.answer_command(command.key, answer, actor=command.actor)
        self._claims.drop(command.key)

    async def _answer(self, waiting: Waiting) -> Answer | None:
        """The answer still to be written; None where it was written with what was done."""
        command, now = waiting.command, self._tools.now()
        age = ago(self._tools.clock, waiting.asked)
        ruling = self._ruling(command, age)
        if not ruling.allowed:
            return refused(ruling.said)
        if age > STALE_AFTER and command.kind not in NEVER_STALE and not self._claims.begun(command.key):
            return refused(f"It was asked {_words(age)} ago, while no engine ran. Ask again if it is still meant.")
        self._claims.begin(command.key, now)
        return await self._handlers[command.kind](replace(waiting, command=replace(command, actor=ruling.name)))

    def _ruling(self, command: Command, age: timedelta) -> Ruling:
        """What was begun goes on, though its sign-in may end meanwhile: half a close is worse than none."""
        if self._claims.begun(command.key):
            return Ruling(True, name_of(command.actor))
        return self._tools.authority.rule(command.actor, command.kind, age)


def _words(age: timedelta) -> str:
    minutes = round(age.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{round(minutes / 60)} h"
