"""The inbox, drained: every command that waits, stops before purchases, each done once and answered."""

from __future__ import annotations

import contextlib
import logging
from datetime import timedelta

from desk.inbox import Inbox
from desk.order_desk import OrderDesk
from desk.records import Waiting
from desk.submit import refused
from desk.tools import Tools
from domain.commands import Command, Kind
from domain.errors import DeskError, LeaseHeld, LedgerBusy

log = logging.getLogger("engine")
MAY_WAIT = timedelta(seconds=20)
MOST_COMMANDS = 50
# Kill commands first, then what looks or undoes: a stop never waits behind a purchase.
_FIRST = {Kind.KILL: 0, Kind.CANCEL_ALL: 1, Kind.CANCEL: 2, Kind.PAUSE_STRATEGY: 3, Kind.DEMOTE: 3}
_SENDING = frozenset({Kind.CHANGE, Kind.CLOSE, Kind.PLACE})
_AT_BROKER = _SENDING | {Kind.PREVIEW, Kind.PROTECT, Kind.CANCEL, Kind.CANCEL_ALL}


class Draining:
    """What the engine does of its inbox in a turn."""

    def __init__(self, tools: Tools, inbox: Inbox, desk: OrderDesk) -> None:
        self._tools, self._inbox, self._desk = tools, inbox, desk

    async def commands(self, *, urgent: bool, again: bool = False, recovering: bool = False) -> None:
        """Every command that waits, stops first; `again`: those that waited for a cancel or a fill of this turn.
        While the desk is `recovering`, what needs the broker waits for a while."""
        waiting = sorted(self._inbox.waiting(MOST_COMMANDS), key=lambda one: _FIRST.get(one.command.kind, 9))
        for one in waiting:
            if urgent and one.command.kind not in _FIRST:
                continue
            if again and one.command.kind not in _SENDING:
                continue
            if recovering and one.command.kind in _AT_BROKER and self._young(one):
                continue
            await self._one(one)
            if self._tools.broker.polled and one.command.kind in _SENDING and self._answered(one):
                return  # each takes seconds: what it brought is heard of and protected before the next one

    def _young(self, waiting: Waiting) -> bool:
        """Asked so lately that it may wait until the desk is ready."""
        return self._tools.now() - waiting.asked < MAY_WAIT

    def _answered(self, waiting: Waiting) -> bool:
        return self._inbox.answer(waiting.command.key) is not None

    async def _one(self, waiting: Waiting) -> None:
        command = waiting.command
        try:
            await self._desk.do(waiting)
        except (LeaseHeld, LedgerBusy):
            raise
        except Exception as error:
            log.exception("command %s %s failed", command.kind, command.key)
            self._refuse(command, f"The engine made a mistake with this and did not go on: {type(error).__name__}.")
            raise

    def _refuse(self, command: Command, said: str) -> None:
        with contextlib.suppress(DeskError), self._tools.write() as write:
            write.answer_command(command.key, refused(said))
