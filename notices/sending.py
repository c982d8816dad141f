"""One channel's worker: takes what waits for it, sends, and settles how that ended. No worker knows of another.

A channel that fails rests, twice as long each time and never on the beat, and tries one message until one goes through.
What it was sent in doubt, because a line broke or a process died, is looked for first where the channel can, and else
says of itself that it may have come before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.base import Alert, Message
from domain.clock import Clock
from domain.errors import AlertError, AlertLater, AlertRefused, AlertUnusable, DeskError
from notices.outbox import Ended, Outbox, Sending, State
from notices.rules import Rules

log = logging.getLogger("notifier")
FIRST_REST_S, LONGEST_REST_S = 2.0, 600.0
FOR_A_PERSON_S = 900.0
LOOK_S = 1.0
GRACE_S = 5.0  # beyond a channel's own time limit, for the many small steps of a slow mail server
MAYBE_TWICE = "(This may have reached you already.)"


def per_hour(alert: Alert, rules: Rules) -> int:
    """How many an hour it sends, 0 for any number."""
    return rules.per_hour.get(alert.name, alert.per_hour)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a failing channel rests, and how often a quiet one looks, in seconds."""

    first_rest_s: float = FIRST_REST_S
    longest_rest_s: float = LONGEST_REST_S
    look_s: float = LOOK_S

    def rest_s(self, failures: int, chance: random.Random) -> float:
        """Twice as long each time, somewhere between half and one and a half of it."""
        grown = self.first_rest_s * 2.0 ** min(failures - 1, 20)
        return min(grown, self.longest_rest_s) * chance.uniform(0.5, 1.5)


class Worker:
    """The worker of one channel."""

    def __init__(
        self,
        alert: Alert,
        outbox: Outbox,
        rules: Callable[[], Rules],
        clock: Clock,
        *,
        timeout_s: float,
        chance: random.Random,
        pace: Pace = Pace(),
    ) -> None:
        self.alert = alert
        self._outbox, self._rules, self._clock = outbox, rules, clock
        self._limit_s, self._chance, self._pace = timeout_s + GRACE_S, chance, pace
        self._failures, self._rests_until = 0, datetime.min.replace(tzinfo=clock.now().tzinfo)
        self._news = asyncio.Event()
        self._troubled = True  # whatever an earlier process noted is out of date

    def wake(self) -> None:
        """Something new waits."""
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop; what is under way is finished and settled."""
        ended = list[Ended]()
        try:
            while not stop.is_set():
                ended = await self._turn(ended, stop)
        finally:
            with contextlib.suppress(DeskError):
                await asyncio.to_thread(self._outbox.turn, self.alert.name, ended)
            await self.alert.close()

    async def _turn(self, ended: list[Ended], stop: asyncio.Event) -> list[Ended]:
        """One look: what ended before is settled with it, what is due is sent. What is still to be settled."""
        self._news.clear()
        resting = self._clock.now() < self._rests_until
        claim = 0 if resting else 1 if self._failures else self.alert.at_once
        if ended or claim:
            try:
                sendings = await asyncio.to_thread(
                    self._outbox.turn,
                    self.alert.name,
                    ended,
                    claim=claim,
                    per_hour=per_hour(self.alert, self._rules()),
                    bundles=self.alert.bundles,
                )
            except DeskError as error:
                log.error("%s: the queue does not take it: %s", self.alert.name, error)
                await self._rest(stop)
                return ended
            except Exception:  # a line of the queue that is none must not end the channel
                log.exception("%s: the queue does not take it", self.alert.name)
                await self._rest(stop)
                return ended
            if sendings:
                outcomes = await asyncio.gather(*(self._send(one) for one in sendings))
                await self._learn([error for _, error in outcomes])
                return [one for one, _ in outcomes]
        await self._rest(stop)
        return []

    async def _rest(self, stop: asyncio.Event) -> None:
        """Until there is news, or for a moment."""
        waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._news.wait())]
        if self._clock.now() < self._rests_until:
            waits.pop().cancel()
        await asyncio.wait(waits, timeout=self._pace.look_s, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()

    async def _send(self, sending: Sending) -> tuple[Ended, AlertError | None]:
        """Send one and say how it ended, whatever happens."""
        try:
            async with asyncio.timeout(self._limit_s):
                said = await self._deliver(sending)
        except AlertRefused as error:
            self._tell("refused", sending, error)
            return Ended(sending.rows, State.FAILED, str(error)), None
        except AlertUnusable as error:
            return Ended(sending.rows, State.WAITING, str(error), due=self._in(FOR_A_PERSON_S / 10)), error
        except AlertLater as error:
            return self._later(sending, error)
        except TimeoutError:
            late = AlertLater(f"{self.alert.label} did not answer in {self._limit_s:.0f} s", doubtful=True)
            return self._later(sending, late)
        except Exception as error:  # a library's surprise is this channel's trouble, never another's
            log.exception("%s: it could not be sent", self.alert.name)
            return self._later(sending, AlertLater(f"{type(error).__name__}: {error}", doubtful=True))
        return Ended(sending.rows, State.SENT, said), None

    async def _deliver(self, sending: Sending) -> str:
        message = sending.message
        if sending.doubtful and not self.alert.idempotent:
            arrived = await self.alert.arrived(message, sending.since)
            if arrived:
                return "it had arrived"
            if arrived is None:
                message = _in_doubt(message)
        return await self.alert.send(message)

    def _later(self, sending: Sending, error: AlertLater) -> tuple[Ended, AlertError]:
        # Its own rest grows too, so that one message nobody can take does not stand in front of the others for ever.
        due = self._in(
            error.after_s if error.after_s is not None else self._pace.rest_s(sending.tries + 1, self._chance)
        )
        doubtful = True if error.doubtful else None
        return Ended(sending.rows, State.WAITING, str(error), due=due, doubtful=doubtful), error

    async def _learn(self, errors: list[AlertError | None]) -> None:
        """What the last sendings say of the channel: one that worked says most."""
        failed = [error for error in errors if error is not None]
        if len(failed) < len(errors):
            if self._troubled or self._failures:
                self._failures, self._troubled = 0, False
                await self._note()
            return
        self._failures += 1
        self._troubled = True
        error = failed[-1]
        if isinstance(error, AlertUnusable):
            rest = FOR_A_PERSON_S
        else:
            asked = error.after_s if isinstance(error, AlertLater) else None
            rest = asked if asked is not None else self._pace.rest_s(self._failures, self._chance)
        self._rests_until = self._in(rest)
        log.warning("%s rests for %.0f s: %s", self.alert.name, rest, error)
        await self._note(rests_until=self._rests_until, needs_person=isinstance(error, AlertUnusable), said=str(error))

    async def _note(self, *, rests_until: datetime | None = None, needs_person: bool = False, said: str = "") -> None:
        with contextlib.suppress(DeskError):  # only what the page shows
            await asyncio.to_thread(
                self._outbox.note,
                self.alert.name,
                rests_until=rests_until,
                failures=self._failures,
                needs_person=needs_person,
                said=said,
            )

    def _tell(self, what: str, sending: Sending, error: Exception) -> None:
        log.warning("%s %s %s: %s", self.alert.name, what, sending.message.id, error)

    def _in(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=seconds)


def _in_doubt(message: Message) -> Message:
    return replace(message, text=f"{message.text}\n{MAYBE_TWICE}".strip())
