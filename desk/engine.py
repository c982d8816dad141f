"""The engine: it takes the lease, recovers, then turns: commands, quotes, fills, strategies, protection.

The rule: start is recovery. Nothing is sent before the broker has been asked what became of everything sent before.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.base import Broker
from desk.authority import Authority
from desk.crash import crash_point
from desk.database import Database
from desk.draining import Draining
from desk.facts import Facts
from desk.halt import halt_level
from desk.hearing import hear
from desk.heartbeat import Heartbeat, due
from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.live_book import LiveBook
from desk.order_desk import OrderDesk
from desk.place import Place
from desk.reader import Reader
from desk.reconcile import reconcile, recover
from desk.resolving import resolve
from desk.sending import lapse, press_cancels
from desk.session import Session
from desk.supervisor import Supervisor
from desk.switches import stop_trading
from desk.tools import Tools, random_id
from desk.valuation import Valuation
from domain.calendars import NEW_YORK
from domain.clock import Clock, SystemClock, monotonic
from domain.errors import BrokerUnavailable, DeskError, LeaseHeld, LedgerBusy, SignInNeeded
from domain.trading_state import KillLevel, TradingState

log = logging.getLogger("engine")

PACE_S = 0.25
GLANCE_S = 0.01
BREATH_S = 1.0
JUMP = Decimal("0.2")
RENEW_EVERY = timedelta(seconds=4)
RECONCILE_EVERY = timedelta(seconds=60)
RECONCILE_AGAIN = timedelta(seconds=5)
READY_AGAIN = timedelta(seconds=5)
FIRST_CONTACT_S = 10.0
FAULTS_ALLOWED = 5
FAULTS_WITHIN = timedelta(seconds=60)
_WAITING = {
    "signed out": "SIGNED OUT: nothing can be sent, no entry and no exit. Stops that rest at the broker stay and work.",
    "recovering": "Not ready, nothing is sent:",
}


def _told_nobody(symbols: Iterable[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine is put together from. `poll_s` is how often the prices are worth asking for; `needs` is told
    which symbols' prices come before all others'; `session` is the broker's sign-in, where there is one."""

    place: Place
    clock: Clock
    broker: Broker
    facts: Facts
    poll_s: float = 1.0
    needs: Callable[[Iterable[str]], None] = _told_nobody
    where: str = "process"
    machine_clock: Clock = SystemClock()  # noqa: RUF009 - it has no state
    ids: Callable[[], str] = random_id
    session: Session | None = None
    authority: Authority = Authority()  # noqa: RUF009 - it has no state


class Engine:
    """One desk's engine. `open` takes the lease and recovers, `turn` does everything once, `close` gives it back."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.name = f"{'dashboard' if parts.where == 'dashboard' else 'engine'} {os.getpid()} on {socket.gethostname()}"
        self._tools: Tools | None = None
        long_ago = datetime.min.replace(tzinfo=NEW_YORK)
        self._asked_prices = self._renewed = self._reconciled = self._tried = long_ago
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
        self._tools.session, self._tools.authority = parts.session, parts.authority
        parts.facts.tell = parts.broker.follow
        self._book = LiveBook(parts.place.live_path)
        self._valuation = Valuation(self._tools)
        self._desk = OrderDesk(self._tools, self._valuation)
        self.supervisor = Supervisor(self._tools)
        self._draining = Draining(self._tools, self._inbox, self._desk)
        self._heart = Heartbeat(
            self._tools,
            self.supervisor,
            self._valuation,
            name=self.name,
            where=parts.where,
            poll_s=parts.poll_s,
            needed=self._needed,
        )
        self._heart.beat(self._state)
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
            await self._desk.strategies.turn()
            await self._desk.enforce()
            await self.supervisor.turn(self._desk.claims)
            await press_cancels(self.tools)
            await self._desk.strategies.again()
        await self._commands(urgent=False, again=True)
        self._heart.mark(self._state)
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
                if self._heart.due:
                    self._heart.beat(self._state)

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
            self._heart.beat(self._state)
        with contextlib.suppress(DeskError):
            self._lease.release()
        await self._desk.strategies.close()
        await self.supervisor.close()
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
        if tools.look_again or due(self._tried, self.parts.clock.now(), READY_AGAIN):
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

    async def _commands(self, *, urgent: bool, again: bool = False) -> None:
        await self._draining.commands(urgent=urgent, again=again, recovering=self._state == "recovering")

    async def looked(self) -> None:
        """Until what is asked beside the turns (candles, strategies) has been answered."""
        await self._desk.strategies.looking.settle()

    async def _uncertain(self) -> None:
        """A turn that was cut short may have left orders written and not sent, or sent and not heard of."""
        lapse(self.tools)
        await resolve(self.tools)

    async def _prices(self) -> None:
        now = self.parts.clock.now()
        if not due(self._asked_prices, now, timedelta(seconds=self.parts.poll_s)):
            return
        self._asked_prices = now
        tools = self.tools
        needed = self._needed()
        self.parts.needs(needed)
        before = {symbol: tools.facts.price(symbol) for symbol in needed}
        newer = await tools.facts.refresh(needed | self._wished() | self._desk.strategies.symbols())
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
        return due(self._reconciled, now, wait)

    def _needed(self) -> set[str]:
        """The symbols no turn can do without: held, or with an order open."""
        reader = self.tools.reader
        held = {symbol for account in reader.accounts() for symbol in reader.positions(account.name)}
        return held | {order.request.symbol for order in reader.open_orders()}

    def _wished(self) -> set[str]:
        """What other processes look at and only we may ask for."""
        return self.tools.session.wished() if self.tools.session is not None else set()

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
