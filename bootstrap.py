"""Put the parts together: settings, the desk of market data, the people's database, the server.

streamlit run streamlit_dashboard.py     opens `lifespan` once a server, `people()` and `start()` on first use
python -m bootstrap --check              the doctor (`upkeep/doctor.py`): what is missing, and how to get it
"""

from __future__ import annotations

if __name__ == "__main__":  # before anything is imported that may be missing
    from upkeep.__main__ import checked

    raise SystemExit(checked())

import asyncio
import contextlib
import dataclasses
import functools
import gc
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

import notifier
import performance_utils
import settings as settings_file
from desk import door, logs
from desk import place as places
from desk.accounts import Accounts
from desk.authority import Authority
from desk.beside import Beside
from desk.facts import Facts
from desk.inbox import Inbox
from desk.live_book import LiveBook
from desk.people import People
from desk.place import Place
from desk.reader import Reader
from domain import registry
from domain.candles import Timeframe, timeframe
from domain.clock import Clock
from domain.errors import FeedUnavailable, SettingsError, UnknownName
from domain.instruments import Instrument
from domain.quotes import Quote
from etrade.session import EtradeSession
from performance_utils import Desk, bridge
from trading_bot import Engine, Parts
from upkeep import daily, presence

T = TypeVar("T")

log = logging.getLogger("desk")
_starting = threading.Lock()
_started: Desk | None = None
_fallen_back = ""


@dataclass(frozen=True, slots=True)
class Trading:
    """What a page needs of the desk that trades: it reads, and it asks. Nothing here can act."""

    place: Place
    clock: Clock
    reader: Reader
    inbox: Inbox
    book: LiveBook


@functools.cache
def people() -> People:
    """Watch lists and preferences."""
    settings = settings_file.load()
    return People(settings.people_url, settings.watchlist)


@functools.cache
def accounts() -> Accounts:
    """Who may come in, and who is in."""
    return Accounts(settings_file.load().accounts_url)


@functools.cache
def reached_by() -> tuple[str, str]:
    """The address people type where a proxy stands in front, and that proxy's own."""
    settings = settings_file.load()
    return settings.public_url, settings.proxy_address


def effective_settings() -> settings_file.Settings:
    """The environment's settings with what was chosen on the settings page laid over them."""
    settings = settings_file.load()
    if settings.trading == "etrade":  # its orders stand on E*TRADE's own prices, whatever was chosen on paper
        return settings.model_copy(update={"data_source": "etrade"})
    chosen = people().preference("data_source")
    if chosen is None:
        return settings
    try:
        registry.check_name("feeds", chosen)
    except UnknownName:
        log.warning("the chosen data source %r is gone; using DATA_SOURCE=%s", chosen, settings.data_source)
        return settings
    return settings.model_copy(update={"data_source": chosen})


def start() -> Desk:
    """The desk of this process, with the chosen data source; made on the first call, the same one after that."""
    global _started
    with _starting:
        if _started is None:
            presence.enter(settings_file.load().data_dir)
            _started = _open_desk()
            performance_utils.use_desk(_started)
        return _started


def place_of(here: Desk) -> Place:
    """Which trading desk belongs to this desk of market data."""
    return places.of(here.settings, here.market.price_source, here.market.simulated)


def trading() -> Trading:
    """The trading desk of the data source that runs now."""
    return _trading(start())


@functools.lru_cache(maxsize=4)
def _trading(here: Desk) -> Trading:
    place = place_of(here)
    reader, inbox = Reader(place.ledger_url, here.clock), Inbox(place.ledger_url, here.clock)
    return Trading(place, here.clock, reader, inbox, LiveBook(place.live_path))


def engine_parts(here: Desk, where: str) -> Parts:
    """An engine for the desk of this data source: its place, its broker, its prices."""
    place, session = place_of(here), getattr(here.market.feed, "session", None)
    # Only a desk that trades there is given the line to it.
    line = {"session": session, "across": _on_bridge} if place.broker == "etrade" else {}
    broker = registry.part("brokers", place.broker)(here.settings, here.clock, place.name, **line)
    facts = Facts(
        here.clock,
        functools.partial(_quotes, here),
        functools.partial(_daily, here),
        simulated=here.market.simulated,
        bars=functools.partial(_bars, here),
    )
    return Parts(
        place,
        here.clock,
        broker,
        facts,
        poll_s=here.market.poll_s,
        needs=functools.partial(here.board.want, first=True),
        where=where,
        session=BridgedSession(session) if session is not None else None,
        authority=Authority(accounts()),
    )


async def _quotes(here: Desk, wanted: Sequence[Instrument]) -> dict[str, Quote]:
    """What the board has of them; it asks the source at the source's own pace, for everybody at once."""
    symbols = [what.symbol for what in wanted]
    here.board.want(symbols)
    if missing := [symbol for symbol in symbols if here.board.get(symbol) is None]:
        await _on_bridge(here.board.bring(missing))
    found = {s: standing.quote for s in symbols if (standing := here.board.get(s)) is not None}
    if not found and here.board.error:
        raise FeedUnavailable(here.board.error)
    return found


async def _daily(here: Desk, what: Instrument, bars: int) -> pd.DataFrame:
    return (await _on_bridge(here.market.window(what, timeframe("1d"), bars=bars))).candles


async def _bars(here: Desk, what: Instrument, tf: Timeframe, bars: int) -> pd.DataFrame:
    return (await _on_bridge(here.market.window(what, tf, bars=bars))).candles


async def _on_bridge(work: Coroutine[Any, Any, T]) -> T:
    """The market lives on the bridge's loop; the engine waits for it from its own."""
    return await asyncio.wrap_future(bridge().start(work))


class BridgedSession:
    """A sign-in that lives beside the feed, on the bridge's loop, for an engine on its own (`desk.session.Session`)."""

    def __init__(
        self, session: EtradeSession, across: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]] | None = None
    ) -> None:
        self._session, self._across = session, across or _on_bridge

    def status(self) -> dict[str, Any]:
        return self._session.status().to_json()

    def wished(self) -> set[str]:
        return self._session.wished()

    async def keep_alive(self) -> None:
        await self._across(self._session.keep_alive())

    async def link(self) -> str:
        return str(await self._across(self._session.link()))

    async def finish(self, code: str) -> list[dict[str, Any]]:
        return [dataclasses.asdict(one) for one in await self._across(self._session.finish(code))]

    async def sign_out(self) -> None:
        await self._across(self._session.sign_out())

    async def check(self, account: str = "") -> list[dict[str, Any]]:
        return [dataclasses.asdict(one) for one in await self._across(self._session.check(account))]

    async def release(self) -> None:
        await self._across(self._session.release())


_beside: list[Beside] = []


def run_beside(here: Desk | None) -> None:
    """Let the dashboard's server run this desk's engine and tell people what happens there, for as long as no program
    of its own does; None: neither."""
    while _beside:
        _beside.pop().stop()
    if here is None:
        return
    if here.settings.engine == "auto":
        _beside.append(Beside("engine", functools.partial(_run_engine, here)))
    if here.settings.notifier == "auto":
        _beside.append(Beside("notifier", functools.partial(_tell_people, here)))
    if here.settings.backup_daily is not None:
        _beside.append(Beside("backup", functools.partial(daily.run, here.settings)))


async def _run_engine(here: Desk, stop: asyncio.Event) -> None:
    engine = Engine(engine_parts(here, where="dashboard"))
    try:
        await engine.open()
        await engine.run(stop)
    finally:
        await engine.close()


async def _tell_people(here: Desk, stop: asyncio.Event) -> None:
    await notifier.Notifier(notifier.parts_of(here, place_of(here), people(), accounts())).run(stop)


def fallen_back() -> str:
    """Why the chosen source is not the one that runs; '' where it is."""
    return _fallen_back


def _open_desk() -> Desk:
    """The chosen source, or the environment's where that one lacks a setting by now: the page must open to mend it."""
    global _fallen_back
    chosen, plain = effective_settings(), settings_file.load()
    try:
        _fallen_back = ""
        return Desk(chosen)
    except SettingsError as error:
        if chosen.data_source == plain.data_source:
            raise
        _fallen_back = f"{chosen.data_source} was chosen here but cannot open: {error}. Running {plain.data_source}."
        log.warning(_fallen_back)
        return Desk(plain)


def choose_source(name: str) -> Desk:
    """Switch every viewer of this server to another data source and remember it; one that cannot open (SettingsError)
    changes nothing."""
    global _started, _fallen_back
    registry.check_name("feeds", name)
    if settings_file.load().trading == "etrade" and name != "etrade":
        raise SettingsError(
            f"TRADING=etrade stands on E*TRADE's own prices: set TRADING=paper in .env to trade on paper over {name}."
        )
    with _starting:
        new = Desk(effective_settings().model_copy(update={"data_source": name}))
        people().prefer("data_source", name)
        running = bool(_beside)
        if running:
            run_beside(None)
        _started, _fallen_back = new, ""
        performance_utils.use_desk(new)
        if running:
            run_beside(new)
        return new


@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Around the server's life: open the desk before the first visitor, then move what was imported out of the
    garbage collector's sight, since Streamlit forces a full collection after every rerun."""
    logs.setup(settings_file.load(), "dashboard")
    presence.enter(settings_file.load().data_dir)  # before any of its databases is opened
    for doubt in settings_file.doubts():
        log.warning(doubt)
    if said := door.check(door.Door.of(st.get_option, reached_by()[0]), accounts=accounts().any()):
        log.warning(said)
    here = start()
    place_of(here)  # a desk that cannot be is said at the start, not on every page
    # Streamlit would read `pages/` by itself until somebody has opened the front door, and draw a menu of its own.
    PagesManager.uses_pages_directory = False
    gc.collect()
    gc.freeze()
    log.info("desk open: %s", here.market.label)
    run_beside(here)
    yield {}
    run_beside(None)
    start().close()  # the one that runs by now
