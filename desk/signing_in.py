"""Signing in to the broker: the link, the code, the doctor, signing out, and the sign of life a session needs.

The rule: the broker is asked beside the turns, never in one. Who waits for a web site must not leave a stop unwatched.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from desk.claims import Wait
from desk.records import Waiting
from desk.session import Session
from desk.tools import Tools
from domain.clock import monotonic
from domain.commands import Answer, CommandState
from domain.errors import DeskError, SignInNeeded

log = logging.getLogger("engine")
KEEP_ALIVE_S, CLAIM_AGAIN_S = 60.0, 3.0
ANSWERS_WITHIN_S = 60.0
LETS_GO_WITHIN_S = 10.0
NO_SESSION = "This desk has no broker to sign in to: choose E*TRADE as data source in Settings."
ASK_AGAIN = "E*TRADE did not answer within a minute. Try again."


class SigningIn:
    """Does what SIGN_IN commands ask, and keeps the session alive between them."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._running: dict[str, asyncio.Task[Answer]] = {}
        self._minding: asyncio.Task[None] | None = None
        self._minded = float("-inf")

    async def do(self, waiting: Waiting) -> Answer:
        """`link`: details `url`; `code`: details `accounts`; `check`: details `checks`; `out`."""
        session, command = self._tools.session, waiting.command
        if session is None:
            raise SignInNeeded(NO_SESSION)
        task = self._running.get(command.key)
        if task is None:
            work = _step(session, command.payload, self._tools.reader.arming().account)
            task = self._running[command.key] = asyncio.create_task(asyncio.wait_for(work, ANSWERS_WITHIN_S))
            await asyncio.wait([task], timeout=0.01)
        if not task.done():
            raise Wait(command.key)
        del self._running[command.key]
        try:
            return task.result()
        except TimeoutError:
            raise SignInNeeded(ASK_AGAIN) from None

    def mind(self) -> None:
        """Once a turn: start the session's sign of life where it is due, and say what a person must do."""
        session = self._tools.session
        if session is None:
            return
        now = session.status()
        wait_s = KEEP_ALIVE_S if now["owner"] else CLAIM_AGAIN_S
        if (self._minding is None or self._minding.done()) and monotonic() - self._minded >= wait_s:
            self._minded = monotonic()
            self._minding = asyncio.create_task(_alive(session))
        if now["signed_in"] or not now["owner"]:
            self._tools.clear("etrade")
        else:
            self._tools.note("etrade", f"Sign in to E*TRADE: Settings → E*TRADE. {now['said']}")

    async def close(self) -> None:
        """Nothing of ours goes on; the session may be another's."""
        left = [task for task in (*self._running.values(), self._minding) if task is not None and not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._tools.session is not None:
            with contextlib.suppress(DeskError, OSError, TimeoutError):
                await asyncio.wait_for(self._tools.session.release(), LETS_GO_WITHIN_S)


async def _step(session: Session, payload: dict[str, Any], account: str) -> Answer:
    match payload.get("step"):
        case "link":
            url = await session.link()
            return _done("Open the link, let the program in, and paste the code it shows.", url=url)
        case "code":
            accounts = await session.finish(str(payload.get("code") or ""))
            return _done(_signed_in(accounts, session.status()), accounts=accounts)
        case "check":
            return _done("E*TRADE was looked at, one thing after the other.", checks=await session.check(account))
        case "out":
            await session.sign_out()
            return _done("Signed out. No call is made to E*TRADE until somebody signs in again.")
        case other:
            raise ValueError(f"a sign-in has the steps link, code, check and out: got {other!r}")


def _signed_in(accounts: list[dict[str, Any]], status: dict[str, Any]) -> str:
    found = ", ".join(str(one["account"]) for one in accounts) or "none could be read"
    hours, minutes = divmod(int(status["seconds_left"] // 60), 60)
    return f"Signed in until midnight in New York, {hours} h {minutes:02} min from now. Accounts: {found}."


def _done(said: str, **details: Any) -> Answer:
    return Answer(CommandState.DONE, said, details)


async def _alive(session: Session) -> None:
    try:
        await asyncio.wait_for(session.keep_alive(), ANSWERS_WITHIN_S)
    except (DeskError, OSError, TimeoutError) as error:
        log.warning("the sign-in could not be kept alive: %s", error or type(error).__name__)
    except Exception:
        log.exception("keeping the sign-in alive failed")
