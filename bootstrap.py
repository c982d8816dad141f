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
from domain.errors import UnknownName
from performance_utils import Desk

log = logging.getLogger("desk")
_starting = threading.Lock()
_started: Desk | None = None


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
            _started = Desk(effective_settings())
            performance_utils.use_desk(_started)
        return _started


def choose_source(name: str) -> Desk:
    """Switch every viewer of this server to another data source and remember it; one that cannot open (SettingsError)
    changes nothing."""
    global _started
    registry.check_name("feeds", name)
    with _starting:
        new = Desk(effective_settings().model_copy(update={"data_source": name}))
        people().prefer("data_source", name)
        _started = new
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
    here.close()
