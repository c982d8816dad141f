"""Put the parts together: settings, the desk of market data, the people's database, the server.

streamlit run streamlit_dashboard.py     opens `lifespan` once a server, `people()` and `start()` on first use
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import performance_utils
import settings as settings_file
from desk.people import People
from domain import registry
from domain.errors import SettingsError, UnknownName
from performance_utils import Desk

log = logging.getLogger("desk")
_starting = threading.Lock()
_started: Desk | None = None
_fallen_back = ""


@functools.cache
def people() -> People:
    """Watch lists and preferences."""
    settings = settings_file.load()
    return People(settings.people_url, settings.watchlist)


def effective_settings() -> settings_file.Settings:
    """The environment's settings with what was chosen on the settings page laid over them."""
    settings = settings_file.load()
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
            _started = _open_desk()
            performance_utils.use_desk(_started)
        return _started


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
    with _starting:
        new = Desk(effective_settings().model_copy(update={"data_source": name}))
        people().prefer("data_source", name)
        _started, _fallen_back = new, ""
        performance_utils.use_desk(new)
        return new


@contextlib.asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    """Around the server's life: open the desk before the first visitor, then move what was imported out of the
    garbage collector's sight, since Streamlit forces a full collection after every rerun."""
    here = start()
    gc.collect()
    gc.freeze()
    log.info("desk open: %s", here.market.label)
    yield {}
    start().close()  # the one that runs by now
