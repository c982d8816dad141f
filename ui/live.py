"""What the browser asks for once a second: the chart's changed part, the ticker strip, the desk that trades.

The browser sends the revision it holds. While that still stands it gets only the forming bar; else the whole figure.
Answers are made once for all viewers who look at the same thing, and cost no Streamlit rerun.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import logging
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import CancelledError
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import plotly
import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

import bootstrap
from domain.calendars import NEW_YORK, MarketState, Phase
from domain.candles import timeframe
from domain.clock import monotonic
from domain.errors import DeskError, UnknownName
from domain.instruments import Instrument, instrument
from feeds.board import Standing
from performance_utils import Desk, LiveCandles, desk
from ui import asking, charts, model_line, palettes
from ui.desk_state import desk_state
from ui.views import Study, View, warm_up

CHART_PATH = "/live/chart"
QUOTES_PATH = "/live/quotes"
DESK_PATH = "/live/desk"
PLOTLY_PATH = "/live/plotly.min.js"
MOST_STUDIES = 18  # five overlays, seven panels and the six others of the form
ZONES = ("America/New_York", "UTC")
STALE_AFTER_S = 5.0
WAIT_S = 2.0
MOST_CHIPS = 80
MOST_SAID = 400
MOST_NAME = 80
CURE_QUESTION = "Change the symbol, or what is chosen under More."
CURE_SOURCE = "Another data source can be chosen in Settings; your own candles go into data/ohlcv."
_log = logging.getLogger(__name__)


class Shared:
    """The last few answers by what they answer; built once even when many ask at the same moment."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, build: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            gate = self._locks.setdefault(key, threading.Lock())
        try:
            with gate:
                return self._built(key, build)
        finally:
            with self._lock:
                self._locks.pop(key, None)

    def _built(self, key: Hashable, build: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        value = build()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value


_bases = Shared(64)
_tails = Shared(256)
_desks = Shared(32)


def read_view(query: Any) -> View:
    """A View from an address; ValueError names what is wrong in it."""
    tf = timeframe(query.get("tf", "5m"))
    # A VWAP starts anew each day: over daily bars it would be each bar's own middle.
    studies = [text for text in query.get("studies", "").split(",") if text and not (tf.daily and text == "vwap")]
    model = model_line.STUDY in studies
    studies = [text for text in studies if text != model_line.STUDY]
    if len(studies) > MOST_STUDIES:
        raise ValueError(f"studies: at most {MOST_STUDIES} at once, got {len(studies)}")
    palette, zone = query.get("palette", palettes.DEFAULT), query.get("zone", ZONES[0])
    if palette not in palettes.PALETTES:
        raise UnknownName.of("palette", palette, palettes.PALETTES)
    if zone not in ZONES:
        raise UnknownName.of("zone", zone, ZONES)
    return View(
        tf=tf.name,
        studies=tuple(Study.parse(text) for text in studies),
        patterns=tuple(name for name in query.get("patterns", "").split(",") if name),
        extended=query.get("extended", "1") == "1",
        palette=palette,
        zone=zone,
        bars=_bars(query.get("bars", "500")),
        model=model,
    )


def _bars(text: str) -> int:
    if not text.isdecimal() or not 20 <= int(text) <= 1000:
        raise ValueError(f"bars must be a whole number from 20 to 1000: got {text!r}")
    return int(text)


def bars_for(symbol: str, view: View) -> int:
    """Bars a view needs: those drawn and those that warm its lines up."""
    return view.bars + warm_up(view, instrument(symbol))


def chart_answer(here: Desk, symbol: str, view: View, held: str) -> bytes:
    """What `/live/chart` sends: `base` only where the browser's revision `held` no longer stands."""
    live = here.live(symbol, view.tf, bars_for(symbol, view))
    said = model_line.said(live) if view.model else None
    base_key = (live.revision, view, said.key if said else "")
    revision = f"{live.revision}.{abs(hash(base_key[1:])) % 10**8:08d}"
    answer: dict[str, Any] = {"rev": revision, "status": status(here, live)}
    answer["of"] = f"{live.instrument.symbol} {view.tf}"
    tail_key = (base_key, live.forming)
    answer["tail"] = orjson.Fragment(
        _tails.get(tail_key, lambda: orjson.dumps(charts.tail(live.closed, live.forming, live.instrument, view)))
    )
    if held != revision:
        answer["base"] = orjson.Fragment(_bases.get(base_key, lambda: _base(live, view, said)))
    return orjson.dumps(answer)


def _base(live: LiveCandles, view: View, said: model_line.Said | None = None) -> bytes:
    figure, about = charts.base(
        live.closed, live.instrument, view, watermark="SIMULATED" if live.answer.simulated else "", said=said
    )
    whole = {**figure.to_plotly_json(), "about": about}
    for trace in whole["data"][: about["on_every_bar"]]:
        del trace["x"]  # the same times for every line: sent once, beside the figure
    return orjson.dumps(whole, default=lambda texts: texts.tolist(), option=orjson.OPT_SERIALIZE_NUMPY)


def status(here: Desk, live: LiveCandles) -> dict[str, Any]:
    """Where the chart's bars come from, how old the newest price is, and what to say about it."""
    standing = here.board.get(live.instrument.symbol)
    answer = live.answer
    return {
        **market_words(here, live.instrument),
        **_freshness(here, live.instrument, standing if answer.live else None, answer.live),
        "sources": list(answer.sources),
        "simulated": answer.simulated,
        "notes": list(answer.notes),
        "feed_error": answer.feed_error,
        "bars": len(live.closed),
        "last_bar": live.closed.index[-1].isoformat() if len(live.closed) else None,
        "last_close": float(live.closed["close"].iloc[-1]) if len(live.closed) else None,
        "last": float(standing.quote.last) if standing and answer.live else None,
    }


def market_words(here: Desk, what: Instrument) -> dict[str, Any]:
    """The badge: phase, what comes next in New York time, and the market's own clock for the browser to run on."""
    now = here.clock.now()
    state = what.calendar.state(now)
    return {
        "phase": state.phase.value,
        "next": _next_words(state, now, what),
        "now_ms": int(now.timestamp() * 1000),
        "clock_note": here.market.clock_note,
    }


def _next_words(state: MarketState, now: datetime, what: Instrument) -> str:
    if what.is_crypto:
        return "trades around the clock"
    if state.changes_at is None:
        return "no session known"
    local = state.changes_at.astimezone(NEW_YORK)
    same_day = local.date() == now.astimezone(NEW_YORK).date()
    when = f"{local:%H:%M}" if same_day else f"{local:%a %d %b %H:%M}"
    verb = {Phase.OPEN: "opens", Phase.CLOSED: "closes"}[state.next_phase or Phase.CLOSED]
    if state.phase is Phase.AFTER:
        verb = "after hours end"
    return f"{verb} {when} New York"


def _freshness(here: Desk, what: Instrument, standing: Standing | None, live: bool) -> dict[str, Any]:
    """How long ago the source last answered (`age_s`), and how long ago the venue last traded (`traded_s`)."""
    common = {"live": live, "error": here.board.error, "quiet_after_s": _quiet_after_s(here, what)}
    if standing is None:
        return {**common, "age_s": None, "stale_after_s": STALE_AFTER_S, "delayed_s": 0, "traded_s": 0.0}
    since = (here.clock.now() - standing.quote.time).total_seconds() - standing.quote.delayed_s
    return {
        **common,
        "age_s": round(monotonic() - standing.came, 2),
        "traded_s": round(max(0.0, since), 1),
        "stale_after_s": max(STALE_AFTER_S, here.market.poll_s * 3),
        "delayed_s": standing.quote.delayed_s,
    }


def _quiet_after_s(here: Desk, what: Instrument) -> float:
    """How long without a trade is worth a word: a minute in regular hours, a quarter of an hour in thin ones."""
    phase = what.calendar.phase(here.clock.now())
    return {Phase.OPEN: 75.0, Phase.CLOSED: float("1e12")}.get(phase, 900.0) + here.market.poll_s * 2


def quotes_answer(here: Desk, symbols: list[str], lead: str = "") -> bytes:
    """What `/live/quotes` sends: one chip a symbol, and market and freshness of the one that is looked at."""
    here.board.want(symbols)
    what = instrument(lead or (symbols[0] if symbols else "SPY"))
    live = here.market.quotes_live
    return orjson.dumps(
        {
            **market_words(here, what),
            **_freshness(here, what, here.board.get(what.symbol), live),
            "chips": [_chip(here, s) for s in symbols],
            "source": here.market.label,
            "simulated": here.market.simulated,
        }
    )


def _chip(here: Desk, symbol: str) -> dict[str, Any]:
    what, standing = instrument(symbol), here.board.get(symbol)
    if standing is None:
        return {"symbol": symbol, "name": what.name, "last": None}
    quote = standing.quote
    last = float(quote.last)
    decimals = max(what.decimals, 4 if last < 1 else 2)
    return {
        "symbol": symbol,
        "name": what.name,
        "last": f"{last:,.{decimals}f}",
        "change": None if quote.change is None else round(float(quote.change) * 100, 2),
        **_freshness(here, what, standing, here.market.quotes_live),
    }


def desk_answer(trading: bootstrap.Trading, account: str, symbol: str, asked: str = "") -> bytes:
    """What `/live/desk` sends: the desk, what to draw on the chart of `symbol`, and what became of the command under
    the key `asked`. Read once a second for all viewers."""
    key = (trading.place.name, account, symbol, int(monotonic()))
    told = orjson.Fragment(_desks.get(key, lambda: orjson.dumps(desk_state(trading, account, symbol))))
    if not asked:
        return orjson.dumps({"state": told})
    became = asking.fate_of(trading, asked)
    return orjson.dumps({"state": told, "asked": {"key": asked, "state": became.state, "said": became.said}})


@functools.cache
def _plotly_gzip() -> bytes:
    return gzip.compress(_plotly_file().read_bytes(), 6)


def _plotly_file() -> Path:
    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


async def _chart(request: Request) -> Response:
    query = request.query_params
    symbol, held = query.get("symbol", ""), query.get("rev", "")
    return await _answered(request, lambda: _chart_body(symbol, held, read_view(query)))


async def _chart_body(symbol: str, held: str, view: View) -> bytes | Waiting:
    """The answer, or word that the source takes its time: it will be there for a later question. The source is waited
    for here, on the loop; the threads only ever do work."""
    here = desk()
    first = here.prepare(symbol, view.tf, bars_for(symbol, view))
    if first is not None:
        done, _ = await asyncio.wait({asyncio.ensure_future(asyncio.wrap_future(first))}, timeout=WAIT_S)
        if not done:
            return Waiting(f"Fetching {instrument(symbol).symbol} {view.tf} from {here.market.label} …")
        for finished in done:
            finished.result()
    return await run_in_threadpool(chart_answer, here, symbol, view, held)


async def _quotes(request: Request) -> Response:
    return await _answered(request, lambda: _quotes_body(request.query_params))


async def _quotes_body(query: Any) -> bytes:
    asked = [instrument(s).symbol for s in query.get("symbols", "").split(",") if s][:MOST_CHIPS]
    lead = query.get("lead", "")
    return quotes_answer(desk(), asked, instrument(lead).symbol if lead else "")


async def _desk(request: Request) -> Response:
    return await _answered(request, lambda: _desk_body(request.query_params))


async def _desk_body(query: Any) -> bytes:
    account, asked = query.get("account", "")[:MOST_NAME], query.get("asked", "")[:MOST_NAME]
    symbol = query.get("symbol", "")
    symbol = instrument(symbol).symbol if symbol else ""
    return await run_in_threadpool(lambda: desk_answer(bootstrap.trading(), account, symbol, asked))


class Waiting(str):
    """A sentence for a reader whose answer is on its way."""

    __slots__ = ()


async def _answered(request: Request, work: Callable[[], Awaitable[bytes | Waiting]]) -> Response:
    """The answer to a question, or in words what is wrong with it (422), with the source (503) or with us (500)."""
    if request.headers.get("sec-fetch-site") == "cross-site":
        return JSONResponse({"problem": "this address answers the desk's own page only"}, 403)
    try:
        body = await work()
    except ValueError as error:
        return _problem(error, 422, CURE_QUESTION)
    except (DeskError, CancelledError) as error:
        return _problem(error, 503, CURE_SOURCE)
    except Exception:  # noqa: BLE001 - the page must be told, and the log must have it
        _log.exception("a live question failed: %s", request.url.query[:300])
        return _problem(RuntimeError("the dashboard made a mistake; its log has the details"), 500, "")
    return JSONResponse({"waiting": body}, 202) if isinstance(body, Waiting) else _json(request, body)


def _problem(error: BaseException, status: int, cure: str) -> Response:
    said = "".join(c if c.isprintable() else " " for c in str(error))[:MOST_SAID] or "the data source was just changed"
    return JSONResponse({"problem": said, "cure": cure, "asked_wrong": status == 422}, status)


async def _plotly(request: Request) -> Response:
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return FileResponse(_plotly_file(), media_type="text/javascript", headers=headers)
    body = await run_in_threadpool(_plotly_gzip)
    return Response(body, media_type="text/javascript", headers={**headers, "Content-Encoding": "gzip"})


def _json(request: Request, body: bytes) -> Response:
    headers = {"Cache-Control": "no-store"}
    if len(body) > 4000 and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = gzip.compress(body, 4), "gzip"
    return Response(body, media_type="application/json", headers=headers)


# A page on another host that points its name at this machine gets nothing, from these routes as from Streamlit's own.
OWN_HOSTS_ONLY = Middleware(TrustedHostMiddleware, allowed_hosts=st.get_option("server.allowedHosts") or ["*"])
ROUTES = [
    Route(CHART_PATH, _chart),
    Route(QUOTES_PATH, _quotes),
    Route(DESK_PATH, _desk),
    Route(PLOTLY_PATH, _plotly),
]
