"""The right to send orders that leave this machine: an account picked by name, everything looked at, a phrase typed.

The rule: a desk starts disarmed. Armed, it stays so until somebody disarms it; what it bought is protected and closed
either way.
"""

from __future__ import annotations

import asyncio
from typing import Any

from desk.claims import Wait
from desk.control import GLOBAL
from desk.ledger import FOUNDING
from desk.records import Waiting
from desk.submit import done, refused
from desk.ticket import text
from desk.tools import Tools
from domain.commands import Answer
from domain.trading_state import TradingState

DELIBERATE = ("max_notional", "max_daily_loss_pct", "max_orders_per_day")
LOOKS_WITHIN_S = 60.0
ON_PAPER = "This desk trades on paper: nothing needs to be armed. TRADING=etrade in .env makes it one that does."


class Arming:
    """What becomes of PICK_ACCOUNT, ARM and DISARM."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._looking: dict[str, asyncio.Task[list[dict[str, Any]]]] = {}

    async def pick(self, waiting: Waiting) -> Answer | None:
        tools, actor = self._tools, waiting.command.actor
        account = text(waiting.command.payload, "account")
        if not tools.place.needs_arming:
            return refused(ON_PAPER)
        if (names := tools.broker.account_names()) and account not in names:
            return refused(f"No account is called {account}: there are {', '.join(names)}.")
        if busy := _busy_elsewhere(tools, account):
            return refused(f"{busy}: end that first, then pick another account.")
        tools.broker.use(account)
        tools.ready, tools.compared, tools.look_again = False, False, True
        tools.waits = f"{account} was picked: it is read and compared first."
        with tools.write() as write:
            write.set_arming(account, False, reason="picked", actor=actor)
            said = f"{account} is the account of this desk now. It is not armed."
            write.answer_command(waiting.command.key, done(said, account=account), actor=actor)
        return None

    async def arm(self, waiting: Waiting) -> Answer | None:
        tools, payload, actor = self._tools, waiting.command.payload, waiting.command.actor
        account = text(payload, "account")
        if not tools.place.needs_arming:
            return refused(ON_PAPER)
        if missing := [step for step in steps(tools) if not step["done"]]:
            return refused(" ".join(f"{step['name']}: {step['said']} {step['cure']}" for step in missing))
        if account != account_of(tools):
            return refused(f"{account} is not the account of this desk: it is {account_of(tools)}.")
        if payload.get("phrase") != phrase(tools, account):
            return refused(f"Type {phrase(tools, account)} exactly to arm {account}.")
        checks = await self._looked_at(waiting.command.key, account)
        if failed := [check for check in checks if str(check["verdict"]) == "fail"]:
            said = " ".join(f"{check['name']}: {check['said']}; {check['cure']}." for check in failed)
            return refused(f"Not armed. {said}", checks=_plain(checks))
        with tools.write() as write:
            write.set_arming(account, True, reason="armed", actor=actor, details={"checks": _plain(checks)})
            if (now := write.control()).state is TradingState.DISABLED and now.actor == FOUNDING:
                write.set_control(GLOBAL, TradingState.ENABLED, reason="armed", actor=actor)
            said = f"{account} is armed: orders of this desk are sent to {tools.broker.label}."
            write.answer_command(waiting.command.key, done(said, account=account), actor=actor)
        return None

    async def disarm(self, waiting: Waiting) -> Answer | None:
        tools, actor = self._tools, waiting.command.actor
        reason = str(waiting.command.payload.get("reason") or "pressed")[:200]
        account = tools.reader.arming().account
        with tools.write() as write:
            write.set_arming(account, False, reason=reason, actor=actor)
            said = "Disarmed: nothing new is bought. What is held stays protected, and may be closed."
            write.answer_command(waiting.command.key, done(said), actor=actor)
        return None

    async def _looked_at(self, key: str, account: str) -> list[dict[str, Any]]:
        """The doctor's list; Wait until it is there, so that no stop is unwatched meanwhile."""
        session = self._tools.session
        if session is None:
            return []
        task = self._looking.get(key)
        if task is None:
            task = self._looking[key] = asyncio.create_task(asyncio.wait_for(session.check(account), LOOKS_WITHIN_S))
            await asyncio.wait([task], timeout=0.01)
        if not task.done():
            raise Wait(key)
        del self._looking[key]
        return task.result()


def phrase(tools: Tools, account: str) -> str:
    """What must be typed: the last four digits stand for the account."""
    words = "TRADE REAL MONEY" if tools.place.real_money else "TRADE"
    return f"{words} {''.join(c for c in account.split('-')[0] if c.isdigit())}"


def account_of(tools: Tools) -> str:
    """The account this desk trades; '' where none was picked and the broker has several."""
    if picked := tools.reader.arming().account:
        return picked
    return tools.accounts[0].name if tools.accounts else ""


def steps(tools: Tools) -> list[dict[str, Any]]:
    """What must be done before arming, each with how it stands; the doctor's list comes with the arming itself."""
    session, account = tools.session, account_of(tools)
    status = session.status() if session is not None else {"signed_in": True, "said": ""}
    missing = [name for name in DELIBERATE if name not in tools.reader.limits()]
    agree = tools.compared and not tools.differing
    return [
        _step("Setting", True, f"TRADING=etrade: orders of this desk go to {tools.broker.label}.", ""),
        _step("Signed in", bool(status["signed_in"]), str(status["said"]), "Settings → E*TRADE."),
        _step("Account", bool(account), account or "none is picked.", "Pick it by its name."),
        _step(
            "Compared",
            tools.ready and agree,
            "Cash and shares agree with the ledger." if agree else tools.waits or "Not compared yet, or they differ.",
            "See Positions.",
        ),
        _step(
            "Limits",
            not missing,
            f"Not set on purpose: {', '.join(missing)}." if missing else "Set by a person.",
            "Settings → Risk: set each of them, to its present value if that is what you want.",
        ),
    ]


def told(tools: Tools) -> dict[str, Any]:
    """How arming stands, for a page."""
    arming, account = tools.reader.arming(), account_of(tools)
    return {
        "armed": arming.armed,
        "account": account,
        "accounts": list(tools.broker.account_names()),
        "phrase": phrase(tools, account) if account else "",
        "by": arming.by,
        "at": arming.at.isoformat() if arming.at else "",
        "reason": arming.reason,
        "steps": steps(tools),
    }


def _step(name: str, is_done: bool, said: str, cure: str) -> dict[str, Any]:
    return {"name": name, "done": is_done, "said": said, "cure": "" if is_done else cure}


def _busy_elsewhere(tools: Tools, account: str) -> str:
    for info in tools.reader.accounts():
        if info.name == account:
            continue
        if orders := tools.reader.open_orders(info.name):
            return f"{len(orders)} orders of this desk are open in {info.name}"
        if held := [s for s, p in tools.reader.positions(info.name).items() if p.ours]:
            return f"This desk holds {', '.join(sorted(held))} in {info.name}"
    return ""


def _plain(checks: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: str(value) for name, value in check.items()} for check in checks]
