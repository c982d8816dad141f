"""The one-share check: a person runs it once on a real account, and it settles what E*TRADE's documents leave open.

    python trading_bot.py --live-check

It asks before each step and writes each answer down at once. The rule: nothing but BUY 1 share far below the market
leaves, held against every request in `_live_check_guard`; and whatever ends it, Ctrl+C too, the clean-up runs.
docs/live-checklist.md says the rest.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from domain.calendars import Phase, calendar
from domain.clock import Clock
from domain.errors import DeskError
from domain.instruments import instrument
from etrade._live_check_guard import Guard
from etrade._live_check_orders import Hand
from etrade._live_check_steps import Steps
from etrade._live_check_talk import Findings, Halted, Pace, Stopped, Talk, advice, version
from etrade.accounts import Account, named
from etrade.doctor import Verdict, doctor
from etrade.session import ELSEWHERE, EtradeSession
from etrade.tokens import TokenStore
from etrade.transport import AiohttpTransport
from etrade_client import EtradeClient
from settings import Settings

T = TypeVar("T")
EXCHANGE = "XNYS"
SYMBOLS = {"production": "F", "simulator": "AAPL"}
PHRASES = {"production": "ONE SHARE", "simulator": "REHEARSE"}
DONE, CUT_SHORT, NOT_BEGUN = 0, 1, 2
MARKS = {Verdict.OK: "ok  ", Verdict.WARN: "warn", Verdict.FAIL: "FAIL"}
WHAT_IT_DOES = """\
This check places an order for ONE share at half its price, looks how E*TRADE answers, and cancels
it. It sends at most four such orders, one of them with an old preview and two as repeats; E*TRADE
should refuse these three. It never sells, and never sends anything else.

What it may cost: nothing, if the price does not halve within these minutes. The worst case is that
the order is filled: you then own one share, bought at half of what it costs now (and one more for
each repeat that E*TRADE took for an order of its own).

You are asked before each step: Enter does it, s skips it, q stops. Ctrl+C stops at any moment.
However it ends, every order it placed is cancelled, and the list is read to see that.

Steps 3 to 7 need the regular session, 09:30 to 16:00 New York. All of it takes about ten minutes."""


def main(
    settings: Settings,
    clock: Clock,
    *,
    ask: Callable[[str], str] = input,
    tell: Callable[[str], object] = print,
    pace: Pace | None = None,
    store: TokenStore | None = None,
) -> int:
    """0 where it went to its end and left nothing behind, 1 where it was cut short or something may be left, 2 where it
    did not begin. `pace` and `store` stand in for real time and for the kept sign-in."""
    talk, interrupt = Talk(ask, tell), _Interrupt()
    try:
        _may_run(settings)
        with interrupt.heard(talk):
            return asyncio.run(_whole(settings, clock, talk, pace or Pace(), store, interrupt))
    except (Stopped, asyncio.CancelledError):
        talk.tell("\nStopped before anything was sent.")
    except (DeskError, OSError) as error:
        talk.tell(f"\n{error}")
    return NOT_BEGUN


def _may_run(settings: Settings) -> None:
    name = settings.etrade_environment
    if name == "off":
        raise Halted("E*TRADE is off: set ETRADE_ENVIRONMENT to production, or to simulator for a rehearsal")
    if name == "sandbox":
        raise Halted(
            "E*TRADE's sandbox gives canned answers, so nothing can be learned there: use production or simulator"
        )
    if settings.trading != "etrade":
        raise Halted(
            "TRADING is paper, and then nothing in this program can send an order: run it once with TRADING=etrade and "
            "DATA_SOURCE=etrade (the desk itself stays disarmed)"
        )


async def _whole(
    settings: Settings, clock: Clock, talk: Talk, pace: Pace, store: TokenStore | None, interrupt: _Interrupt
) -> int:
    guard = Guard(AiohttpTransport(), pace.monotonic)
    session = EtradeSession(settings, clock, transport=guard, store=store, trades=True)
    try:
        if not await session.claim():
            raise Halted(ELSEWHERE)
        steps = await interrupt.stoppable(_begin(session, settings, guard, talk, pace))
        return await _carried_out(steps, interrupt)
    finally:
        await session.close()


async def _begin(session: EtradeSession, settings: Settings, guard: Guard, talk: Talk, pace: Pace) -> Steps:
    """Step 0: what will be done, with which account and symbol, whether it can work, and a phrase typed on purpose."""
    rehearsal = session.environment == "simulator"
    talk.tell(f"\nLIVE CHECK of {session.label}" + (" · a rehearsal, no real money" if rehearsal else " · REAL MONEY"))
    talk.tell(f"\n{WHAT_IT_DOES}")
    client = session.trader
    await _signed_in(session, client, talk)
    name, account = _picked(await client.accounts(), settings.etrade_account_id, talk)
    usual = SYMBOLS[session.environment]
    symbol = instrument(talk.ask(f"\nWhich symbol? A cheap one that trades a lot. Enter takes {usual} > ") or usual)
    if symbol.is_crypto:
        raise Halted(f"{symbol.symbol} is not traded at E*TRADE")
    talk.tell("")
    if not await _sound(client, account, symbol.symbol, talk):
        raise Halted("the list above has a failure: cure it first. Nothing was sent.")
    phrase = f"{PHRASES[session.environment]} {account.number[-4:]}"
    if talk.ask(f"\nType  {phrase}  to begin with account {name} > ") != phrase:
        raise Halted("that is not the phrase. Nothing was sent.")
    path = settings.data_dir / f"live-check-{session.environment}.json"
    clock = session.clock
    findings = Findings(path, session.environment, name, symbol.symbol, clock, talk.tell, clock.now())
    findings.save()
    hand = Hand(client, guard, account.key, clock, pace)
    trades = calendar(EXCHANGE)
    return Steps(
        talk,
        findings,
        client,
        guard,
        hand,
        account,
        symbol.symbol,
        lambda: trades.phase(clock.now()) is Phase.OPEN,
        clock,
        pace,
    )


async def _signed_in(session: EtradeSession, client: EtradeClient, talk: Talk) -> None:
    if client.sign_in().usable:
        return
    talk.tell(f"\nNobody is signed in. Open this, sign in, accept, and copy the code:\n{await session.link()}")
    await session.finish(talk.ask("The code > "))


def _picked(accounts: tuple[Account, ...], number: str, talk: Talk) -> tuple[str, Account]:
    """The account to use, and the name it is shown by."""
    names = named(accounts)
    if number:
        names = {name: one for name, one in names.items() if one.number == number}
    if not names:
        raise Halted("there is no open brokerage account to use; look at ETRADE_ACCOUNT_ID")
    if len(names) == 1:
        [only] = names.items()
        return only
    talk.tell("\nAccounts:")
    for name, one in names.items():
        talk.tell(f"  {name}  {one.mode.lower()}  {one.description}")
    answer = talk.ask("Which one? Its last four digits > ").lstrip("•")
    found = names.get(f"••••{answer}")
    if found is None:
        raise Halted(f"no account ends in {answer[:10]!r}. Nothing was sent.")
    return f"••••{answer}", found


async def _sound(client: EtradeClient, account: Account, symbol: str, talk: Talk) -> bool:
    checks = await doctor(client, account_number=account.number, symbol=symbol)
    for check in checks:
        cure = f" Cure: {check.cure}." if check.cure and check.verdict is not Verdict.OK else ""
        talk.tell(f"  {MARKS[check.verdict]}  {check.name}: {check.said}{cure}")
    return all(check.verdict is not Verdict.FAIL for check in checks)


async def _carried_out(steps: Steps, interrupt: _Interrupt) -> int:
    """The steps, then the clean-up, whatever ended them; then what was found."""
    talk, hand, cut = steps.talk, steps.hand, ""
    try:
        await interrupt.stoppable(steps.all())
    except (Stopped, asyncio.CancelledError):
        cut = "stopped by hand"
    except (DeskError, OSError) as error:
        cut = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it was, an order may stand
        cut = f"a mistake in the check itself ({type(error).__name__}: {error})"
    if cut:
        talk.tell(f"\nCut short: {cut}")
    talk.tell("\n9  Nothing is left behind")
    talk.tell("Read the list and cancel what stands of this check's orders.")
    if (wait_s := hand.waits_s()) > 0:
        talk.tell(f"An answer is missing: its order is looked for, for {wait_s:.0f} s at most.")
    try:
        left = await interrupt.stoppable(hand.clean_up(), once_more="Cleaning up. Ctrl+C again leaves it to you.")
    except asyncio.CancelledError:
        left = ["The clean-up was stopped by hand.", *hand.unfinished()]
    except Exception as error:  # noqa: BLE001 - it must be said what may be left
        left = [f"The clean-up was cut short: {error}", *hand.unfinished()]
    _told(steps, cut, left)
    return DONE if not cut and not left else CUT_SHORT


def _told(steps: Steps, cut: str, left: list[str]) -> None:
    """What is left first, then what was found and where it is kept."""
    talk, findings, many = steps.talk, steps.findings, len(steps.hand.ids)
    for line in left:
        talk.tell(f"!!!!  {line}")
    for why in steps.guard.stopped:
        talk.tell(f"!!!!  The guard kept something back, which is a mistake in the check: {why}")
    findings.left, findings.finished = left, not cut
    try:
        if cut:
            findings.note("–", "cut short", cut)
        nothing = f"nothing: {many} placed, {many} over, no share bought" if many else "nothing: no order was placed"
        said = "; ".join(left) or nothing
        findings.note("9", "left behind", said, orders=many)
    except OSError as error:
        talk.tell(f"The findings could not be kept: {error}")
    talk.tell(f"\nWhat was found ({findings.environment}, account {findings.account}, program {version()})\n")
    talk.tell(findings.table())
    for one in advice(findings):
        talk.tell(f"\nSetting: {one.setting}={one.value}  ({one.why})" if one.value else f"\n{one.setting}: {one.why}")
    talk.tell(f"\nKept in {findings.path}. Nothing in it is secret.")


class _Interrupt:
    """Ctrl+C: at a question it ends the question, else the work under way; nothing that is on the wire is cut off."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._once_more = ""
        self._talk: Talk | None = None
        self._pressed = False

    async def stoppable(self, work: Coroutine[Any, Any, T], *, once_more: str = "") -> T:
        """The work's result; CancelledError where Ctrl+C was pressed (twice, where `once_more` asks for that)."""
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        self._task, self._once_more = task, once_more
        if self._pressed and not once_more:
            task.cancel()
        try:
            return await task
        finally:
            self._task, self._pressed = None, False

    @contextmanager
    def heard(self, talk: Talk) -> Iterator[None]:
        """Listen to it; only the main thread can."""
        self._talk = talk
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _hear(self, *_: object) -> None:
        assert self._talk is not None
        if self._talk.asking:
            raise KeyboardInterrupt
        if self._task is None:
            self._pressed = True
            return
        loop = self._task.get_loop()
        if self._once_more:
            loop.call_soon_threadsafe(self._talk.tell, self._once_more)
            self._once_more = ""
        else:
            loop.call_soon_threadsafe(self._task.cancel)
