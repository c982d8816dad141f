"""Tell people: fan one message out to every channel, beside the engine and never in the order path.

python notifier.py                        tell people until Ctrl+C or SIGTERM
python notifier.py --mode test            one test message through every channel that is on
python notifier.py --mode status          the channels, and what waits

It reads the ledger, the engine's signs of life, closed candles and the log, each from where it stopped last time, and
writes `data/notices.db` alone (`notices/outbox.py`). docs/alerts.md says what goes where.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
import random
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import filelock
from apscheduler.schedulers.asyncio import AsyncIOScheduler

import settings as settings_file
from alerts.base import Alert, Message
from desk import logs
from desk.accounts import Accounts
from desk.live_book import LiveBook
from desk.people import OWNER, People
from desk.place import Place
from desk.reader import Reader
from desk.subscriptions import Subscription
from domain import registry
from domain.clock import Clock, SystemClock, monotonic
from domain.errors import AlertError, DeskError, LeaseHeld, LedgerConflict, SettingsError
from domain.notices import OF_BARS, Kind, Severity
from notices import log_watch
from notices import summary as summaries
from notices.addressing import ADDRESSES, Directory
from notices.bar_watch import PREFIX, Bars, BarWatch, position_of
from notices.happenings import Happening
from notices.ledger_watch import LedgerWatch, Pulse
from notices.outbox import ChannelHealth, Notice, Outbox, State
from notices.rules import PREFERENCE, Rules
from notices.sending import Pace, Worker
from settings import Settings

log = logging.getLogger("notifier")
LOOK_S = {"ledger": 1.0, "engine": 5.0, "bars": 5.0, "log": 5.0, "summary": 60.0, "refresh": 10.0, "tidy": 600.0}
STOP_WITHIN_S = 20.0
LOCK_WITHIN_S = 0.3  # a page that looks whether one runs holds it for an instant
LOOKS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel as a page shows it. `missing`: what is not set; `on`: nobody switched it off."""

    name: str
    label: str
    missing: tuple[str, ...]
    on: bool
    health: ChannelHealth

    @property
    def usable(self) -> bool:
        return self.on and not self.missing

    @property
    def words(self) -> str:
        if self.missing:
            return f"not set up: {', '.join(self.missing)}"
        if not self.on:
            return "off"
        if self.health.needs_person:
            return f"needs you: {self.health.said}"
        if self.health.rests_until is not None:
            return f"fails, tried again after {self.health.rests_until:%H:%M:%S} UTC: {self.health.said}"
        return "on"


@dataclass(frozen=True, slots=True)
class Tried:
    """How a test of a channel ended."""

    name: str
    ok: bool
    said: str


def rules_of(people: People) -> Rules:
    """The owner's rules; those that cannot be read are the plain ones, and said so in the log."""
    try:
        return Rules.of(people.preference(PREFERENCE))
    except (DeskError, AttributeError, TypeError) as error:
        log.error("the rules of notices cannot be read, plain ones are used: %s", error)
        return Rules()


def set_rules(people: People, rules: Rules) -> None:
    """Keep the owner's rules; a running notifier takes them over within seconds."""
    people.prefer(PREFERENCE, rules.to_dict())


def switch_channel(people: People, name: str, on: bool) -> None:
    """A channel's on/off switch. UnknownName where there is none such."""
    registry.check_name("alerts", name)
    rules = rules_of(people)
    set_rules(people, replace(rules, off=rules.off - {name} if on else rules.off | {name}))


def set_address(people: People, person: str, channel: str, address: str) -> None:
    """Where a person other than the owner is reached by a personal channel; '' for nowhere. DeskError says how an
    address is written."""
    part = registry.part("alerts", channel)
    if not part.personal:
        raise DeskError(f"{part.label} is a room: nobody has an address of their own there")
    try:
        known = settings_file.check_address(address.strip(), part.kind) if address.strip() else ""
    except ValueError as error:
        raise DeskError(str(error)) from None
    own = {**people.preference(ADDRESSES, {}, person), channel: known}
    people.prefer(ADDRESSES, {name: value for name, value in own.items() if value}, person)


def channels(settings: Settings, people: People, outbox: Outbox) -> list[ChannelState]:
    """Every channel there is, with its state."""
    off = rules_of(people).off
    found = []
    for name in registry.names("alerts"):
        part = registry.part("alerts", name)
        missing = tuple(part.missing(settings))
        found.append(ChannelState(name, part.label, missing, name not in off, outbox.health(name)))
    return found


async def try_channel(name: str, settings: Settings, outbox: Outbox, clock: Clock) -> Tried:
    """Send a test through one channel now, beside the queue: to every address it has. It stands in the history, and one
    that works ends the channel's rest."""
    part = registry.part("alerts", name)
    logs.hide(*settings.secrets())
    try:
        channel: Alert = part(settings)
    except SettingsError as error:
        return Tried(name, False, logs.clean(str(error)))
    said, ok = list[str](), True
    try:
        for address in channel.addresses():
            worked, words = await _try(channel, address, settings, outbox, clock)
            ok, said = ok and worked, [*said, words]
    finally:
        await channel.close()
    if ok:
        outbox.note(name)
    return Tried(name, ok, logs.clean("; ".join(said)))


async def _try(channel: Alert, address: str, settings: Settings, outbox: Outbox, clock: Clock) -> tuple[bool, str]:
    now = clock.now()
    id, where = f"test:{secrets.token_hex(8)}", address or channel.label
    title, text = (
        "A test from your trading desk",
        f"If you can read this, {channel.label} works. {now:%Y-%m-%d %H:%M} UTC",
    )
    notice = Notice(id, Kind.TEST, Severity.INFO, title, text, now, person=OWNER)
    try:
        async with asyncio.timeout(settings.alert_timeout_s + 5):
            heard = await channel.send(Message(id, Severity.INFO, title, text, "", now, to=address))
    except (AlertError, TimeoutError) as error:
        words = str(error) or f"it did not answer in {settings.alert_timeout_s + 5:.0f} s"
        outbox.record(notice, channel.name, address, State.FAILED, words)
        return False, words if words.startswith(f"{where}: ") else f"{where}: {words}"
    except Exception as error:
        log.exception("%s: the test broke", channel.name)
        outbox.record(notice, channel.name, address, State.FAILED, f"{type(error).__name__}: {error}")
        return False, f"{where}: {type(error).__name__}: {error}"
    outbox.record(notice, channel.name, address, State.SENT, heard)
    return True, f"sent to {where}"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a notifier works with. `settings` is asked again and again, so that a key changed in Settings counts;
    `market_clock` is the clock of prices and ledger, `clock` the machine's; `place` None: a notifier without a desk;
    `in_use`: whether somebody has an account that may come in."""

    settings: Callable[[], Settings]
    people: People
    clock: Clock
    market_clock: Clock
    place: Place | None = None
    bars: Bars | None = None
    pace: Pace = field(default_factory=Pace)
    in_use: Callable[[str], bool] = lambda _: True


class Notifier:
    """One for a data folder: `run` holds its lock. LeaseHeld where another one runs."""

    def __init__(self, parts: Parts, chance: random.Random | None = None) -> None:
        self._parts, self._chance = parts, chance or random.Random()  # noqa: S311 - it spreads retries
        settings = parts.settings()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(settings.data_dir / "notices.lock", thread_local=False)
        self.outbox = Outbox(settings.notices_url, parts.clock)
        self.directory = Directory(Rules(), {}, (), {})
        self._setups: dict[str, str] = {}
        self._looking = set[str]()
        self._workers: dict[str, tuple[Worker, asyncio.Event, asyncio.Task[None]]] = {}
        place = parts.place
        self._ledger = LedgerWatch(place) if place is not None else None
        self._pulse = Pulse(place.name, place.words) if place is not None else None
        self._reader = Reader(place.ledger_url, parts.market_clock) if place is not None else None
        self._bars = BarWatch(parts.bars, parts.market_clock) if parts.bars is not None else None

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop; what is under way is finished, what waits is kept."""
        try:
            self._lock.acquire(timeout=LOCK_WITHIN_S, poll_interval=0.02)
        except filelock.Timeout:
            raise LeaseHeld(f"another notifier runs: it holds {self._lock.lock_file}") from None
        try:
            log.info("tells people what happens on %s", self._parts.place.name if self._parts.place else "no desk")
            if again := self.outbox.recover():
                log.warning("%d were being sent when the last notifier died: they are sent again", again)
            await self._guarded("refresh", self.refresh)
            scheduler = self._scheduler()
            scheduler.start()
            try:
                await stop.wait()
            finally:
                scheduler.pause()
                await self._looks_over()
                scheduler.shutdown(wait=False)
                await self._stop_workers(list(self._workers))
        finally:
            self._lock.release()
            self.close()

    def close(self) -> None:
        """Give back files. Safe to call twice."""
        self.outbox.close()
        if self._ledger is not None:
            self._ledger.close()

    def _scheduler(self) -> AsyncIOScheduler:
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a look that takes longer is no news
        scheduler = AsyncIOScheduler(timezone=UTC)
        jobs = {
            "ledger": self.look_at_ledger,
            "engine": self.look_at_engine,
            "bars": self.look_at_bars,
            "log": self.look_at_log,
            "summary": self.summarise,
            "refresh": self.refresh,
            "tidy": self.tidy,
        }
        for name, job in jobs.items():
            scheduler.add_job(
                self._guarded,
                "interval",
                args=[name, job],
                id=name,
                seconds=LOOK_S[name],
                next_run_time=SystemClock().now(),
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
        return scheduler

    async def _guarded(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """One source that fails is tried again at its next turn; the others do not notice."""
        self._looking.add(name)
        try:
            await job()
        except LedgerConflict as error:
            log.info("%s: %s", name, error)
        except DeskError as error:
            log.warning("%s: %s", name, error)
        except Exception:
            log.exception("%s broke", name)
        finally:
            self._looking.discard(name)

    async def _looks_over(self) -> None:
        """Wait for looks that are under way: what they found is written down before this ends."""
        end = monotonic() + LOOKS_WITHIN_S
        await asyncio.sleep(0)  # those that were just called begin
        while self._looking and monotonic() < end:  # noqa: ASYNC110 - the scheduler tells no end
            await asyncio.sleep(0.02)

    # What happened

    async def look_at_ledger(self) -> None:
        """New lines of the audit, to the end."""
        if self._ledger is None:
            return
        more = True
        while more:
            before = await asyncio.to_thread(self.outbox.position, self._ledger.name)
            found = await asyncio.to_thread(self._ledger.read, before, self.directory.rules.big_trade)
            await self.tell(found.happenings, found.moved)
            more = found.more and bool(found.moved)

    async def look_at_engine(self) -> None:
        """Its signs of life, and what it wants a person to know."""
        if self._ledger is None or self._pulse is None:
            return
        status = await asyncio.to_thread(self._ledger.engine)
        await self.tell(self._pulse.look(status, self._parts.market_clock.now()))

    async def look_at_bars(self) -> None:
        """Closed candles against the subscriptions to them."""
        if self._bars is None:
            return
        wanted = [one for one in self.directory.subscriptions if one.kind in OF_BARS]
        positions = await asyncio.to_thread(self.outbox.positions, PREFIX)
        await asyncio.to_thread(self.outbox.forget, positions.keys() - {position_of(one) for one in wanted})
        found, moved = await self._bars.look(wanted, positions)
        now = self._parts.clock.now()
        notices = [notice for one in found for notice in self.directory.notices(one.happening, now, one.wanted)]
        await self._put(notices, moved)

    async def look_at_log(self) -> None:
        """Errors of every program of this desk."""
        before = await asyncio.to_thread(self.outbox.position, log_watch.NAME)
        found, moved = await asyncio.to_thread(log_watch.read, self._parts.settings().log_path, before)
        await self.tell(found, moved)

    async def summarise(self) -> None:
        """The day's summary, once its time has come."""
        place, reader, now = self._parts.place, self._reader, self._parts.market_clock.now()
        if place is None or reader is None:
            return
        day = summaries.due(now, self.directory.rules.summary_at, await asyncio.to_thread(self._traded, now))
        name = f"summary:{place.name}"
        before = await asyncio.to_thread(self.outbox.position, name)
        if day is None or before == day.isoformat():
            return
        book = LiveBook(place.live_path)
        told = await asyncio.to_thread(summaries.summary, place, reader, book, day, now)
        await self.tell([told], {name: (before, day.isoformat())})

    def _traded(self, now: datetime) -> bool:
        began = summaries.day_began(now)
        return any(heard.fill.time >= began for heard in self._reader.fills(most=1)) if self._reader else False

    async def tell(self, happenings: Iterable[Happening], moved: dict[str, tuple[Any, Any]] | None = None) -> None:
        """Write down what happened for everybody it concerns, with how far its source was read; then let it go out."""
        now = self._parts.clock.now()
        notices = [notice for one in happenings for notice in self.directory.notices(one, now)]
        await self._put(notices, moved or {})

    async def _put(self, notices: list[Notice], moved: dict[str, tuple[Any, Any]]) -> None:
        if not notices and not moved:
            return
        if await asyncio.to_thread(self.outbox.put, notices, moved):
            for worker, _, _ in self._workers.values():
                worker.wake()

    # Who is told, and by what

    async def refresh(self) -> None:
        """Settings, rules and subscriptions as they are now; a worker for each channel that can be used."""
        settings = self._parts.settings()
        rules = await asyncio.to_thread(rules_of, self._parts.people)
        wanted = await asyncio.to_thread(self._wanted)
        setups = {name: _setup(settings) for name in registry.names("alerts") if name not in rules.off}
        setups = {name: setup for name, setup in setups.items() if not registry.part("alerts", name).missing(settings)}
        changed = [name for name in self._workers if setups.get(name) != self._setups.get(name)]
        await self._stop_workers([*changed, *(name for name in self._dead() if name not in changed)])
        new = sorted(setups.keys() - self._workers.keys())
        for name in new:
            self._start_worker(name, settings)
        if new:
            log.info("channels that are on: %s", ", ".join(sorted(self._workers)))
        self._setups = setups
        usable = {name: worker.alert for name, (worker, _, _) in self._workers.items()}
        self.directory = Directory(rules, usable, tuple(wanted), self._addresses({one.person for one in wanted}))

    def _dead(self) -> list[str]:
        """Workers that ended though nobody told them to: they are begun anew."""
        return [name for name, (_, stop, task) in self._workers.items() if task.done() and not stop.is_set()]

    def _wanted(self) -> list[Subscription]:
        """The wishes of whoever may still come in: who was let go is told nothing more, nor what waits for them."""
        if gone := self.outbox.let_go(self._in_use):
            log.warning("%d messages waited for people who may not come in any more: they are dropped", gone)
        wanted = self._parts.people.subscriptions(only_on=True)
        known = {person: self._in_use(person) for person in {one.person for one in wanted}}
        return [one for one in wanted if known[one.person]]

    def _in_use(self, person: str) -> bool:
        try:
            return person == OWNER or self._parts.in_use(person)
        except DeskError as error:
            log.error("whether %s may be told cannot be looked up: %s", person, error)
            return False

    def _addresses(self, persons: Iterable[str]) -> dict[str, dict[str, str]]:
        return {person: self._parts.people.preference(ADDRESSES, {}, person) for person in persons if person != OWNER}

    def _start_worker(self, name: str, settings: Settings) -> None:
        logs.hide(*settings.secrets())
        try:
            alert: Alert = registry.part("alerts", name)(settings)
        except SettingsError as error:
            log.error("%s: %s", name, error)
            return
        worker = Worker(
            alert,
            self.outbox,
            lambda: self.directory.rules,
            self._parts.clock,
            timeout_s=settings.alert_timeout_s,
            chance=self._chance,
            pace=self._parts.pace,
        )
        stop = asyncio.Event()
        self._workers[name] = (worker, stop, asyncio.create_task(worker.run(stop), name=f"alerts {name}"))

    async def _stop_workers(self, names: list[str]) -> None:
        leaving = [self._workers.pop(name) for name in names]
        for _, stop, _ in leaving:
            stop.set()
        if leaving:
            _, hanging = await asyncio.wait([task for _, _, task in leaving], timeout=STOP_WITHIN_S)
            for task in hanging:
                task.cancel()

    async def tidy(self) -> None:
        """Give up what is too late, forget what is old."""
        if gone := await asyncio.to_thread(self.outbox.tidy, list(self._workers)):
            log.warning("%d messages were given up", gone)


def _setup(settings: Settings) -> str:
    """A name for these settings, in this process's memory alone: another one where one was changed."""
    told = {name: getattr(settings, name) for name in type(settings).model_fields}
    return hashlib.sha256(repr(sorted(told.items())).encode()).hexdigest()


async def serve(parts: Parts) -> None:
    """Run until SIGTERM or Ctrl+C."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Notifier(parts).run(stop)


async def try_all(settings: Settings, people: People, outbox: Outbox, clock: Clock) -> int:
    """A test through every channel that is on, all at once, and a line for each channel: 0 where all went through, 1
    where one failed, 2 where none is on."""
    states = channels(settings, people, outbox)
    usable = [state.name for state in states if state.usable]
    tried = await asyncio.gather(*(try_channel(name, settings, outbox, clock) for name in usable))
    ended = {one.name: f"{'ok     ' if one.ok else 'FAILED '}{one.said}" for one in tried}
    for state in states:
        print(f"{state.name:<10}{ended.get(state.name, f'-      {state.words}')}")
    if not usable:
        print("No channel is on: set one up in .env or Settings (docs/alerts.md).", file=sys.stderr)
        return 2
    return 0 if all(one.ok for one in tried) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Tell people what happens on the desk.", allow_abbrev=False)
    parser.add_argument("--mode", choices=("run", "test", "status"), default="run", help="run unless told otherwise")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """0 after a clean stop or when every test went through, 1 where a test failed, 2 for wrong settings or no channel,
    3 where another notifier runs."""
    asked = _parser().parse_args(arguments)
    try:
        settings = settings_file.load()
        logs.setup(settings, "notifier", console=asked.mode == "run")
        for doubt in settings_file.doubts():
            log.warning(doubt)
        people, clock = People(settings.people_url, settings.watchlist), SystemClock()
        if asked.mode == "run":
            import bootstrap  # the composition stands above; only a main may reach for it

            logging.getLogger("streamlit").setLevel(logging.ERROR)  # it warns that no page runs around us
            here = bootstrap.start()
            asyncio.run(serve(parts_of(here, bootstrap.place_of(here), people, bootstrap.accounts())))
            return 0
        outbox = Outbox(settings.notices_url, clock)
        if asked.mode == "test":
            return asyncio.run(try_all(settings, people, outbox, clock))
        for state in channels(settings, people, outbox):
            waits = (
                f"{state.health.waiting} wait, {state.health.sent_day} sent and {state.health.failed_day} failed today"
            )
            print(f"{state.name:<10}{state.words}; {waits}")
        return 0
    except LeaseHeld as error:
        print(error, file=sys.stderr)
        return 3
    except DeskError as error:
        print(error, file=sys.stderr)
        return 2


def parts_of(here: Any, place: Place, people: People, accounts: Accounts) -> Parts:
    """A notifier for a desk of market data (`performance_utils.Desk`) and its place: beside the dashboard, or alone."""
    from performance_utils import bridge  # brings Streamlit along

    async def bars(what: Any, tf: Any, count: int) -> Any:
        answer = await asyncio.wrap_future(bridge().start(here.market.window(what, tf, bars=count)))
        return answer.candles

    def in_use(name: str) -> bool:
        return accounts.role_of(name) is not None

    return Parts(settings_file.load, people, SystemClock(), here.clock, place, bars, in_use=in_use)


if __name__ == "__main__":
    sys.exit(main())
