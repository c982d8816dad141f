"""Real engines in processes of their own, trading at E*TRADE's simulator over HTTP, there to be killed."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from aiohttp import http_writer

from bootstrap import BridgedSession
from desk import crash, signing_in
from desk import place as places
from desk.authority import LOCAL_OWNER
from desk.crash import crash_point
from desk.facts import Facts
from desk.inbox import Inbox
from desk.switches import stop_trading
from domain import registry
from domain.clock import SystemClock
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import BrokerUnavailable, DeskError, LeaseHeld, LedgerBusy, SignInNeeded
from domain.instruments import Instrument
from domain.orders import Purpose, Status
from domain.quotes import Quote
from domain.trading_state import KillLevel
from etrade.session import EtradeSession
from etrade.transport import AiohttpTransport, Reply, Request
from etrade.vault import Vault, file_key
from etrade_client import EtradeClient
from settings import Settings
from tests.etrade_person import code_of
from tests.faults.engines import HALTING, KnownFacts
from tests.faults.etrade_memory import Hands
from tests.faults.etrade_variants import VARIANTS
from tests.faults.etrade_venue import ACCOUNT, Fast, Walk
from tests.faults.points import at, kill_myself
from tests.ledgers import preload
from trading_bot import Engine, Parts

# The first child pays for every import; they are done once, before it is forked.
preload("tests.faults.engines", "tests.faults.etrade_ending")

PACE_S = 0.004
PATIENCE_S = 20.0
ANSWER_S, CONNECT_S = 15.0, 5.0  # how long an engine waits for E*TRADE, in its own time
SHORTEST_S = 0.15  # and at the least in the machine's, which may be slow
SIGNED_IN = "signed-in.token"
Sleep = Callable[[float], Awaitable[object]]
EXPECTED = (BrokerUnavailable, LeaseHeld, SignInNeeded)


@dataclass(frozen=True, slots=True)
class World:
    """What every process of a run shares: a folder, a simulator's address, a clock."""

    folder: Path
    seed: int
    clock: Fast
    url: str
    variant: str = ""

    @property
    def settings(self) -> Settings:
        return Settings(
            data_dir=self.folder / "data",
            data_source="etrade",
            trading="etrade",
            etrade_environment="simulator",
            etrade_simulator_url=self.url,
            etrade_account_id=ACCOUNT,
        )

    @property
    def place(self) -> places.Place:
        return places.etrade(self.settings, "etrade-simulator")

    @property
    def ledger_path(self) -> Path:
        return self.folder / "data" / f"ledger-{self.place.name}.db"

    def note(self, said: str) -> None:
        """A line in the run's log, there for good even where the next instruction is a kill."""
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(log, f"{said}\n".encode())
        os.close(log)

    def lines(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self.folder / "log").read_text(encoding="utf-8").splitlines()
        return []

    def sign_in_again(self) -> None:
        """As a person does whose sign-in died: what is kept is good again."""
        vault = self.settings.etrade_dir
        shutil.copyfile(vault / SIGNED_IN, vault / "simulator.token")

    def hands(self) -> Hands:
        """What the log says of orders placed by hand."""
        said = [line.split() for line in self.lines() if line.startswith("hand ")]
        return Hands(frozenset(line[1] for line in said), {line[1]: line[2] for line in said if len(line) > 2})


def parts(world: World, session: EtradeSession) -> Parts:
    clock, walk = session.clock, Walk(world.seed)

    async def quotes(wanted: Sequence[Instrument]) -> dict[str, Quote]:
        return {what.symbol: walk.quote(what.symbol, clock.now()) for what in wanted}

    async def daily(what: Instrument, bars: int) -> pd.DataFrame:
        raise AssertionError("not asked")

    place = world.place
    broker = registry.part("brokers", place.broker)(world.settings, clock, place.name, session=session, across=_here)
    facts: Facts = KnownFacts(clock, quotes, daily, simulated=place.simulated)
    return Parts(
        place, clock, broker, facts, poll_s=0.0, machine_clock=SystemClock(), session=BridgedSession(session, _here)
    )


async def _here(work: Any) -> Any:
    return await work


def on_time(monotonic: Callable[[], float], sleep: Sleep, speed: float) -> None:
    """From now on, what this process does at E*TRADE lives on that time."""
    for kind in (EtradeClient, *EtradeClient.__mro__[1:]):
        kept = getattr(vars(kind).get("__init__"), "__kwdefaults__", None)
        if kept and "monotonic" in kept:
            kept |= {"monotonic": monotonic, "sleep": sleep}
    patience = {"timeout_s": max(ANSWER_S / speed, SHORTEST_S), "connect_s": max(CONNECT_S / speed, SHORTEST_S)}
    AiohttpTransport.__init__.__kwdefaults__ |= patience
    signing_in.KEEP_ALIVE_S, signing_in.CLAIM_AGAIN_S = 60.0 / speed, 1.0 / speed


def on_the_line() -> None:
    """Places to die at between the desk and E*TRADE: with the last byte of an order sent, and with the answer there."""
    write, send = http_writer.StreamWriter._writelines, AiohttpTransport.send

    def written(self: Any, chunks: Any) -> None:
        write(self, chunks)
        head = bytes(chunks[0][:200])
        if b"/orders/place" in head:
            crash_point("bytes_sent")
        elif b"/orders/cancel" in head:
            crash_point("cancel_sent")

    async def sent(self: Any, request: Request) -> Reply:
        reply = await send(self, request)
        if "/orders/place" in request.url:
            crash_point("accepted")
        elif "/orders/cancel" in request.url:
            crash_point("cancel_accepted")
        return reply

    http_writer.StreamWriter._writelines = written
    AiohttpTransport.send = sent  # type: ignore[method-assign]


class _Mistakes(logging.Handler):
    """What the engine survives and should not have to."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else (record.args or ("",))[0] if record.args else None
        if isinstance(error, LedgerBusy):
            self._world.note(f"wrong I0: a write was turned away: {error}")
        elif isinstance(error, Exception) and not isinstance(error, EXPECTED):
            self._world.note(f"wrong I0: the engine made a mistake: {error!r}")


def listen(world: World) -> None:
    """Everything it logs is kept, to be searched for secrets."""
    (world.folder / "data").mkdir(exist_ok=True)
    everything = logging.FileHandler(world.folder / "data" / "engine.log", encoding="utf-8")
    for name in ("engine", "etrade", "desk", "brokers.etrade"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [everything], False
        logger.setLevel(logging.DEBUG)
    logging.getLogger("engine").addHandler(_Mistakes(world))


# One that may die


def live(world: World, number: int, point: str, visit: int) -> None:
    """An engine until it dies: at the `visit`th passing of `point`, or when somebody kills it. `halt` is no death: it
    commits HALT in the moment between an intent and its sending."""
    listen(world)
    if world.variant:
        VARIANTS[world.variant]()
    on_time(world.clock.monotonic, world.clock.sleep, world.clock.speed)
    on_the_line()
    loop = asyncio.new_event_loop()
    holder: list[Engine] = []

    def die() -> None:
        world.note(f"died {point}")
        kill_myself()

    def halt() -> None:
        with holder[-1].tools.write() as write:
            stop_trading(write, KillLevel.HALT, reason="in the very moment", actor="test")
        world.note("halted between an intent and its sending")

    if point == HALTING:
        crash.install(at("after_intent", visit, halt))
    elif point:
        crash.install(at(point, visit, die))
    loop.run_until_complete(_serve(world, holder))


async def _serve(world: World, holder: list[Engine]) -> None:
    vault = Vault(world.settings.etrade_dir, file_key)
    session = EtradeSession(world.settings, world.clock, store=vault, trades=True)
    telling: asyncio.Task[None] | None = None
    while True:
        engine = Engine(parts(world, session))
        holder.append(engine)
        try:
            await engine.open()
            telling = asyncio.create_task(_tell(world, engine))
            await engine.run(asyncio.Event(), PACE_S)
        except LeaseHeld:
            await asyncio.sleep(0.02)
        except EXPECTED:
            await asyncio.sleep(0.005)
        except LedgerBusy as error:
            world.note(f"wrong I0: a write was turned away: {error}")
        except DeskError as error:
            world.note(f"wrong I0: the engine could not start: {error!r}")
            await asyncio.sleep(0.01)
        finally:
            if telling is not None:
                telling.cancel()
            with suppress(DeskError):
                await engine.close()


async def _tell(world: World, engine: Engine) -> None:
    while not engine.tools.ready:  # noqa: ASYNC110 - nothing of the engine's tells it by itself
        await asyncio.sleep(0.005)
    world.note("opened")


# The first one, which signs in, picks the account and arms it


def found(world: World, wishes: list[tuple[Kind, dict[str, Any]]], told: Any) -> None:
    """A desk with its account picked and these wishes done, its positions protected; tells what went wrong, or ''."""
    listen(world)
    on_time(world.clock.monotonic, world.clock.sleep, world.clock.speed)
    told.send(asyncio.run(_found(world, wishes)))


async def _found(world: World, wishes: list[tuple[Kind, dict[str, Any]]]) -> str:
    vault = Vault(world.settings.etrade_dir, file_key)
    session = EtradeSession(world.settings, world.clock, store=vault, trades=True)
    await session.keep_alive()
    await session.finish(await asyncio.to_thread(code_of, await session.link()))
    account = session.status().account
    engine = Engine(parts(world, session))
    inbox = Inbox(world.place.ledger_url, session.clock)
    try:
        await engine.open()
        picked = (Kind.PICK_ACCOUNT, {"account": account})
        for number, (kind, payload) in enumerate([picked, *wishes]):
            answer = await _answered(engine, inbox, Command(f"found-{number:04}", kind, LOCAL_OWNER, payload))
            if answer is None or answer.state is not CommandState.DONE:
                return f"{kind}: {answer.said if answer else 'no answer'}"
        return await _at_rest(engine, sum(kind is Kind.PLACE for kind, _ in wishes))
    finally:
        await engine.close()
        inbox.close()
        shutil.copyfile(world.settings.etrade_dir / "simulator.token", world.settings.etrade_dir / SIGNED_IN)


async def _at_rest(engine: Engine, stops: int) -> str:
    """Once so many stops rest and nothing else is open."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        await engine.turn()
        found = [(order.request.purpose, order.status) for order in engine.tools.reader.open_orders()]
        if found == [(Purpose.STOP, Status.WORKING)] * stops:
            return ""
        await asyncio.sleep(0.02)
    return f"{found} is open, {stops} stops should rest"


async def _answered(engine: Engine, inbox: Inbox, command: Command) -> Answer | None:
    until = time.monotonic() + PATIENCE_S
    while not engine.tools.ready and time.monotonic() < until:
        await engine.turn()
        await asyncio.sleep(0.02)
    inbox.append(command)
    while time.monotonic() < until:
        await engine.turn()
        if (answer := inbox.answer(command.key)) is not None:
            return answer
        await asyncio.sleep(0.02)
    return None
