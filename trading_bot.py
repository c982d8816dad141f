"""The engine: the one process that acts. It takes the lease, recovers, then turns: commands, quotes, fills, protection.

    python trading_bot.py                     run the desk of the chosen data source until Ctrl+C or SIGTERM
    python trading_bot.py --kill 2            stop: 1 PAUSE, 2 CANCEL, 3 FLATTEN, 4 HALT (docs/trading.md)
    python trading_bot.py --re-arm "checked"  trade again
    python trading_bot.py --status            what the ledger says of the desk
    python trading_bot.py --live-check        what E*TRADE's documents leave open, by one share (docs/live-checklist.md)

The rule: start is recovery. Nothing is sent before the broker has been asked what became of everything sent before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import settings as settings_file
from brokers.base import Broker
from desk import arming
from desk.authority import LOCAL_OWNER
from desk.crash import crash_point
from desk.database import Database
from desk.facts import Facts
from desk.halt import halt_level, write_halt
from desk.hearing import hear
from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.live_book import LiveBook
from desk.order_desk import OrderDesk
from desk.place import Place
from desk.reader import Reader
from desk.reconcile import reconcile, recover
from desk.records import Waiting
from desk.resolving import resolve, uncertain
from desk.sending import lapse, press_cancels
from desk.session import Session
from desk.supervisor import Supervisor
from desk.switches import FLATTEN_WORD, stop_trading
from desk.tools import Tools, random_id
from desk.valuation import Valuation
from domain.calendars import NEW_YORK, Phase
from domain.clock import Clock, SystemClock, monotonic
from domain.commands import Command, Kind
from domain.errors import BrokerUnavailable, DeskError, Fenced, LeaseHeld, LedgerBusy, SignInNeeded
from domain.instruments import instrument
from domain.trading_state import KillLevel, TradingState

log = logging.getLogger("engine")

PACE_S = 0.25
GLANCE_S = 0.01
BREATH_S = 1.0
JUMP = Decimal("0.2")
BEAT_EVERY = timedelta(seconds=1)
RENEW_EVERY = timedelta(seconds=4)
RECONCILE_EVERY = timedelta(seconds=60)
RECONCILE_AGAIN = timedelta(seconds=5)
READY_AGAIN = timedelta(seconds=5)
FIRST_CONTACT_S = 10.0
MAY_WAIT = timedelta(seconds=20)
MOST_COMMANDS = 50
FAULTS_ALLOWED = 5
FAULTS_WITHIN = timedelta(seconds=60)
_WAITING = {
    "signed out": "SIGNED OUT: nothing can be sent, no entry and no exit. Stops that rest at the broker stay and work.",
    "recovering": "Not ready, nothing is sent:",
}
# Kill commands first, then what looks or undoes: a stop never waits behind a purchase.
_FIRST = {Kind.KILL: 0, Kind.CANCEL_ALL: 1, Kind.CANCEL: 2}
_SENDING = frozenset({Kind.CHANGE, Kind.CLOSE, Kind.PLACE})
_AT_BROKER = _SENDING | {Kind.PREVIEW, Kind.PROTECT, Kind.CANCEL, Kind.CANCEL_ALL}


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is put together from. `poll_s` is how often the prices are worth asking for; `session` the
    broker's sign-in, where there is one."""

    place: Place
    clock: Clock
    broker: Broker
    facts: Facts
    poll_s: float = 1.0
    where: str = "process"
    machine_clock: Clock = SystemClock()  # noqa: RUF009 - it has no state
    ids: Callable[[], str] = random_id
    session: Session | None = None


class Engine:
    """One desk's engine. `open` takes the lease and recovers, `turn` does everything once, `close` gives it back."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.name = f"{'dashboard' if parts.where == 'dashboard' else 'engine'} {os.getpid()} on {socket.gethostname()}"
        self._tools: Tools | None = None
        long_ago = datetime.min.replace(tzinfo=NEW_YORK)
        self._asked_prices = self._beat = self._renewed = self._reconciled = self._tried = long_ago
        self._faults: list[datetime] = []
        self._looked_at = 0
        self._state = "recovering"

    # Life

    async def open(self) -> None:
        """Take the lease and recover. LeaseHeld where another engine has it; then nothing was touched."""
        parts = self.parts
        ledger = Ledger.open(
            parts.place.ledger_url, desk=parts.place.desk, price_source=parts.place.price_source, clock=parts.clock
        )
        self._lease = Lease(ledger.database, parts.machine_clock)
        try:
            epoch = self._lease.acquire(self.name)
        except BaseException:
            ledger.close()
            raise
        self._ledger, self._looking = ledger, Database(parts.place.ledger_url, read_only=True)
        self._inbox, reader = Inbox(self._looking, parts.clock), Reader(self._looking, parts.clock)
        self._tools = Tools(parts.place, parts.clock, ledger, epoch, reader, parts.broker, parts.facts, parts.ids)
        self._tools.session = parts.session
        parts.facts.tell = parts.broker.follow
        self._book = LiveBook(parts.place.live_path)
        self._valuation = Valuation(self._tools)
        self._desk = OrderDesk(self._tools, self._valuation)
        self.supervisor = Supervisor(self._tools)
        self._started = parts.clock.now()
        self._beat_now()
        self.supervisor.between = functools.partial(self._commands, urgent=True)
        if parts.place.needs_arming:
            await self._first_contact(reader.arming().account)
        await self._become_ready()

    async def _first_contact(self, picked: str) -> None:
        """The account that was picked, and the sign-in taken over before it is needed."""
        if picked:
            self.parts.broker.use(picked)
        if self.parts.session is not None:
            with contextlib.suppress(DeskError, OSError, TimeoutError):
                await asyncio.wait_for(self.parts.session.keep_alive(), FIRST_CONTACT_S)

    async def _become_ready(self) -> None:
        """Recover, or say what is waited for; then nothing is sent until the next try has gone well."""
        tools, self._tried = self.tools, self.parts.clock.now()
        try:
            await recover(tools)
        except (BrokerUnavailable, SignInNeeded) as error:
            self._state = "signed out" if isinstance(error, SignInNeeded) else "recovering"
            tools.ready, tools.waits = False, str(error)
            tools.note("ready", f"{_WAITING[self._state]} {error}")
            return
        tools.clear("ready")
        self._valuation.begin()
        self._state, self._reconciled = "ready", self.parts.clock.now()

    @property
    def tools(self) -> Tools:
        assert self._tools is not None, "open the engine first"
        return self._tools

    async def turn(self) -> None:
        """Everything once. Fenced where the lease went to another engine: stop at once."""
        self._keep_lease()
        self._obey_file()
        crash_point("turn_begins")
        self._looked_at = self._newest()
        await self._stay_ready()
        if self.tools.ready:
            await self._uncertain()
        await self._commands(urgent=True)
        self._desk.signing_in.mind()
        await self._prices()
        if self.tools.ready and await hear(self.tools) and self.tools.broker.polled:
            await self.supervisor.turn(self._desk.claims)  # before the next purchase takes its seconds
        await self._commands(urgent=False)
        if self.tools.ready:
            await self._desk.enforce()
            await self.supervisor.turn(self._desk.claims)
            await press_cancels(self.tools)
        await self._commands(urgent=False, again=True)
        self._mark()
        self.tools.clear("turn")
        crash_point("turn_ends")

    async def run(self, stop: asyncio.Event, pace_s: float = PACE_S) -> None:
        """Turn until told to stop. A fault of ours is logged and survived; five in a minute stop entries."""
        breath = asyncio.create_task(self._breathe())
        try:
            await self._turns(stop, pace_s)
        finally:
            breath.cancel()

    async def _breathe(self) -> None:
        """Signs of life while a turn takes its time: the lease and the heartbeat wait for no broker."""
        while True:
            await asyncio.sleep(BREATH_S)
            with contextlib.suppress(DeskError):  # the next turn meets it too
                self._keep_lease()
                if _due(self._beat, self.parts.clock.now(), BEAT_EVERY):
                    self._beat_now()

    async def _turns(self, stop: asyncio.Event, pace_s: float) -> None:
        while not stop.is_set():
            try:
                await self.turn()
            except LeaseHeld:
                raise
            except LedgerBusy as error:
                log.warning("%s", error)
            except DeskError as error:
                self.tools.note("turn", f"A turn was cut short: {error}")
                log.warning("a turn was cut short: %s", error)
            except Exception as error:  # noqa: BLE001 - the desk must go on protecting what is held
                self._survive(error)
            await self._rest(stop, pace_s)

    async def _rest(self, stop: asyncio.Event, pace_s: float) -> None:
        """Until the next turn is due, or somebody asks for something."""
        until = monotonic() + pace_s
        while not stop.is_set() and monotonic() < until and self._newest() == self._looked_at:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(GLANCE_S, pace_s))

    def _newest(self) -> int:
        try:
            return self._inbox.newest()
        except DeskError:
            return 0

    async def close(self) -> None:
        """Say that it stops, and give the lease back. What rests at the broker stays there."""
        if self._tools is None:
            await self.parts.broker.close()
            return
        self._state = "stopping"
        with contextlib.suppress(DeskError):
            self._beat_now()
        with contextlib.suppress(DeskError):
            self._lease.release()
        await self._desk.signing_in.close()
        self._looking.close()
        self._ledger.close()
        await self.parts.broker.close()

    # A turn's parts

    def _keep_lease(self) -> None:
        now = self.parts.machine_clock.now()
        if now - self._renewed >= RENEW_EVERY:
            self._lease.renew()
            self._renewed = now

    async def _stay_ready(self) -> None:
        """A sign-in that died is noticed, and everything looked at again once there is a new one."""
        tools = self.tools
        if tools.ready and self.parts.place.needs_arming and tools.session is not None:
            status = tools.session.status()
            if not status["signed_in"]:
                tools.signed_out(str(status["said"]))
        if tools.ready:
            return
        if self._state == "ready":
            self._state, self._tried = "signed out", datetime.min.replace(tzinfo=NEW_YORK)
        if tools.look_again or _due(self._tried, self.parts.clock.now(), READY_AGAIN):
            tools.look_again = False
            await self._become_ready()

    def _obey_file(self) -> None:
        """A HALT file is latched into the ledger; it holds even where the ledger says something milder."""
        found = halt_level(self.parts.place.halt_paths)
        if found is None:
            return
        level, path = found
        control = self.tools.reader.trading_state()
        if control.level is None or control.level < level:
            with self.tools.write() as write:
                stop_trading(write, level, reason=f"the file {path.name} is there", actor="file")

    async def _uncertain(self) -> None:
        """A turn that was cut short may have left orders written and not sent, or sent and not heard of."""
        lapse(self.tools)
        await resolve(self.tools)

    async def _commands(self, *, urgent: bool, again: bool = False) -> None:
        """Every command that waits, stops first; `again`: those that waited for a cancel or a fill of this turn."""
        waiting = sorted(self._inbox.waiting(MOST_COMMANDS), key=lambda one: _FIRST.get(one.command.kind, 9))
        for one in waiting:
            if urgent and one.command.kind not in _FIRST:
                continue
            if again and one.command.kind not in _SENDING:
                continue
            if self._state == "recovering" and one.command.kind in _AT_BROKER and self._young(one):
                continue
            await self._one(one)
            if self.tools.broker.polled and one.command.kind in _SENDING and self._answered(one):
                return  # each takes seconds: what it brought is heard of and protected before the next one

    def _young(self, waiting: Waiting) -> bool:
        """Asked so lately that it may wait until the desk is ready."""
        return self.parts.clock.now() - waiting.asked < MAY_WAIT

    def _answered(self, waiting: Waiting) -> bool:
        found = self._inbox.answer(waiting.command.key)
        return found is not None

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
        from desk.submit import refused

        with contextlib.suppress(DeskError), self.tools.write() as write:
            write.answer_command(command.key, refused(said))

    async def _prices(self) -> None:
        now = self.parts.clock.now()
        if not _due(self._asked_prices, now, timedelta(seconds=self.parts.poll_s)):
            return
        self._asked_prices = now
        tools = self.tools
        before = {symbol: tools.facts.price(symbol) for symbol in self._needed()}
        newer = await tools.facts.refresh(self._needed() | self._wished())
        for symbol, price in before.items():
            if tools.broker.polled and _jumped(price, tools.facts.price(symbol)):
                tools.doubt(symbol)
        if tools.facts.error:
            tools.note("prices", f"No prices: {tools.facts.error}")
        else:
            tools.clear("prices")
        self._book.write(newer)
        if newer:
            self._valuation.mark()
        if tools.ready and (tools.look_again or self._reconcile_due(now)):
            self._reconciled, tools.look_again = now, False
            await self._compare()

    async def _compare(self) -> None:
        """A broker that does not answer just now must not keep the turn from protecting what is held."""
        try:
            await reconcile(self.tools)
        except SignInNeeded as error:
            self.tools.signed_out(str(error))
        except BrokerUnavailable as error:
            self.tools.note("broker", f"{self.tools.broker.label} does not tell about accounts: {error}")

    def _reconcile_due(self, now: datetime) -> bool:
        """Every minute; every five seconds while something differs, since it may have been on its way only, and until
        they have agreed once."""
        soon = self.tools.frozen or self.tools.blocked or not self.tools.compared
        wait = RECONCILE_AGAIN if soon else RECONCILE_EVERY
        return _due(self._reconciled, now, wait)

    def _needed(self) -> set[str]:
        """The symbols no turn can do without: held, or with an order open."""
        reader = self.tools.reader
        held = {symbol for account in reader.accounts() for symbol in reader.positions(account.name)}
        return held | {order.request.symbol for order in reader.open_orders()}

    def _wished(self) -> set[str]:
        """What other processes look at and only we may ask for."""
        return self.tools.session.wished() if self.tools.session is not None else set()

    def _mark(self) -> None:
        """Signs of life, the curve and the breakers, once a second; a breaker that trips at once."""
        if _due(self._beat, self.parts.clock.now(), BEAT_EVERY) or self._valuation.tripped:
            self._beat_now()

    def _beat_now(self) -> None:
        self._beat = self.parts.clock.now()
        with self.tools.write() as write:
            if self.tools.ready:
                self._valuation.write(write)
            write.beat(self.name, self._said_state(), started=self._started, details=self._details())

    def _said_state(self) -> str:
        return "frozen" if self._state == "ready" and self.tools.frozen else self._state

    def _details(self) -> dict[str, Any]:
        naked = self.supervisor.naked.values()
        return {
            "where": self.parts.where,
            "pid": os.getpid(),
            "problems": list(self.tools.problems.values())[:20],
            "unprotected": [
                {"account": n.account, "symbol": n.symbol, "quantity": str(n.quantity), "since": n.since.isoformat()}
                for n in naked
            ],
            **self._outside(),
            "longest_unprotected_s": round(self.supervisor.longest_naked.total_seconds(), 3),
            "waiting_flatten": any(about.startswith("flatten") for about in self.tools.problems),
            **({"etrade": self.tools.session.status()} if self.tools.session is not None else {}),
            "flatten_estimate": flatten_words(self._needed(), self.parts.clock.now(), self.parts.poll_s),
        }

    def _outside(self) -> dict[str, Any]:
        """What a broker of the real world brings with it."""
        tools = self.tools
        if not self.parts.place.needs_arming:
            return {}
        return {
            "arming": arming.told(tools),
            "uncertain": uncertain(tools),
            "differences": tools.differing,
            "outside": [
                {"account": info.name, "symbol": symbol, "quantity": f"{p.outside.normalize():f}"}
                for info in tools.reader.accounts()
                for symbol, p in sorted(tools.reader.positions(info.name).items())
                if p.outside
            ],
        }

    def _survive(self, error: Exception) -> None:
        log.exception("a turn failed")
        now = self.parts.clock.now()
        self._faults = [*(at for at in self._faults if now - at < FAULTS_WITHIN), now]
        self.tools.note(
            "fault", f"The engine made a mistake ({type(error).__name__}) at {now:%H:%M:%S} UTC; see its log."
        )
        if len(self._faults) >= FAULTS_ALLOWED and self.tools.reader.trading_state().state is TradingState.ENABLED:
            with contextlib.suppress(DeskError), self.tools.write() as write:
                stop_trading(write, KillLevel.PAUSE, reason="the engine keeps making mistakes", actor="engine")


def _jumped(before: Decimal | None, now: Decimal | None) -> bool:
    """So far from one look to the next that it may have been split."""
    return bool(before and now and abs(now / before - 1) >= JUMP)


def _due(last: datetime, now: datetime, every: timedelta) -> bool:
    """Whether `every` has gone by; a clock that was set back is no reason to wait until it has caught up."""
    return not timedelta() <= now - last < every


def flatten_words(symbols: Iterable[str], now: datetime, poll_s: float) -> str:
    """How long closing every position would take."""
    held = list(symbols)
    shut = [s for s in held if instrument(s).calendar.phase(now) is not Phase.OPEN]
    if not held:
        return "at once: nothing is held"
    opens = [at for s in shut if (at := instrument(s).calendar.next_open(now))]
    if shut and not opens:
        return "once the market opens"
    if shut:
        return f"at the open, {max(opens).astimezone(NEW_YORK):%a %d %b %H:%M} New York"
    return f"about {max(2, round(2 * poll_s + 0.5 * len(held)))} s in a liquid market"


# The command line


def ask_to_stop(place: Place, level: KillLevel, reason: str, clock: Clock) -> str:
    """Ask the engine by its inbox; by file as well where that cannot be, and always for HALT."""
    said, taken = [], False
    try:
        payload = {"level": int(level), "reason": reason, "typed": FLATTEN_WORD}
        Inbox(place.ledger_url, clock).append(Command(f"kill-{uuid.uuid4().hex}", Kind.KILL, LOCAL_OWNER, payload))
        said.append(f"{level.name} is asked for in the inbox of {place.name}")
        taken = True
    except DeskError as error:
        said.append(f"the inbox does not take it ({error})")
    if level is KillLevel.HALT or not taken:
        path = place.halt_paths[-1]
        write_halt(path, level, reason)
        said.append(f"{path} is written: the engine obeys it until it is taken away")
    return "; ".join(said)


def status_words(reader: Reader, clock: Clock, place: Place) -> str:
    """The desk in a few lines."""
    control, engine, holder = reader.trading_state(), reader.engine(), reader.holder()
    age = None if engine is None else (clock.now() - engine.beat).total_seconds()
    lines = [
        f"desk      {place.name} ({place.words})",
        f"trading   {control.state}{f', {control.level.name}' if control.level else ''}: {control.reason}",
        f"engine    {f'{holder.name}, ' if holder else 'none holds the lease, '}"
        + (f"{engine.state}, heard {age:.0f} s ago" if engine and age is not None else "never heard"),
    ]
    for account in reader.accounts():
        held = {s: f"{p.quantity.normalize():f}" for s, p in reader.positions(account.name).items()}
        folded = reader.account(account.name)
        lines.append(f"account   {account.name}: cash {folded.cash if folded else '?'}, positions {held or 'none'}")
    lines.append(f"orders    {len(reader.open_orders())} open, {reader.queued()} commands wait")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """0 after a clean stop, 2 for wrong settings, 3 where another engine runs, 4 where the lease was lost."""
    import bootstrap  # the composition stands above; only a main may reach for it

    asked = _parser().parse_args(arguments)
    if asked.live_check:
        return _live_check()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("streamlit").setLevel(logging.ERROR)  # it warns that no page runs around us
    try:
        here = bootstrap.start()
        place = bootstrap.place_of(here)
        if asked.kill is not None:
            print(ask_to_stop(place, asked.kill, asked.reason, here.clock))
            return 0
        reader = Reader(place.ledger_url, here.clock)
        if asked.re_arm:
            payload = {"reason": asked.re_arm}
            command = Command(f"re-arm-{uuid.uuid4().hex}", Kind.RE_ARM, LOCAL_OWNER, payload)
            Inbox(place.ledger_url, here.clock).append(command)
            print("asked to re-arm; --status shows whether it was done")
            return 0
        if asked.status:
            print(status_words(reader, here.clock, place))
            return 0
        return asyncio.run(_serve(bootstrap.engine_parts(here, where="process")))
    except LeaseHeld as error:
        print(f"Another engine runs: {error}", file=sys.stderr)
        return 3
    except Exception as error:
        if asked.kill is not None:
            print(_stop_by_file(asked.kill, asked.reason, error))
            return 0
        if not isinstance(error, DeskError):
            raise
        print(str(error), file=sys.stderr)
        return 2


def _live_check() -> int:
    from etrade import live_check

    try:
        settings = settings_file.load()
    except DeskError as error:
        print(str(error), file=sys.stderr)
        return 2
    return live_check.main(settings, SystemClock())


def _stop_by_file(level: KillLevel, reason: str, error: Exception) -> str:
    """Whatever is broken, this stops every desk of the data folder."""
    try:
        folder = settings_file.load().data_dir
    except DeskError:
        folder = Path("data")
    write_halt(folder / "HALT", level, reason)
    return f"The desk cannot be opened ({error}); {folder / 'HALT'} is written: every engine obeys it."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The trading engine, and its kill switch.")
    parser.add_argument("--kill", type=_level, metavar="LEVEL", help="1 PAUSE, 2 CANCEL, 3 FLATTEN, 4 HALT")
    parser.add_argument("--reason", default="from the command line", help="why, for the audit")
    parser.add_argument("--re-arm", metavar="WHY", help="trade again")
    parser.add_argument("--live-check", action="store_true", help="try E*TRADE with one share, far from the market")
    parser.add_argument("--status", action="store_true", help="what the ledger says of the desk")
    return parser


def _level(text: str) -> KillLevel:
    names = {level.name for level in KillLevel} | {str(level.value) for level in KillLevel}
    if text.strip().upper() not in names:
        raise argparse.ArgumentTypeError(f"a level is 1 to 4, or pause, cancel, flatten, halt: got {text!r}")
    return KillLevel.read(text)


async def _serve(parts: Parts) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine = Engine(parts)
    await engine.open()
    log.info("%s runs %s", engine.name, parts.place.name)
    try:
        await engine.run(stop)
    except Fenced as error:
        log.error("%s", error)
        return 4
    finally:
        await engine.close()
    log.info("stopped; what rests at the broker stays there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
