"""Viewers without a browser: what its scripts send, at the pace at which they send it, and how long answers take.

`PageViewer` keeps a Streamlit page open: it speaks Streamlit's protobuf messages over the page's WebSocket and obeys
`run_every` as Streamlit 1.67's own script does, but kinder: it leaves a tick out while the answer before is still
awaited, where a browser's timer asks again. `DeskViewer` keeps our page open, timed reruns and all, and asks
`/live/chart` and `/live/quotes` as `ui/components/shared.js` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks.servers import WATCHED, Served
from ui.live import CHART_PATH, QUOTES_PATH

PACE_S = 1.0
_FRAGMENT_DONE = ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
_DONE = ForwardMsg.FINISHED_SUCCESSFULLY


@dataclass(slots=True)
class Seen:
    """Live updates by the moment they were asked for (perf_counter), the seconds each took, and bytes received."""

    asked: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, asked: float, received: int) -> None:
        self.asked.append(asked)
        self.took.append(time.perf_counter() - asked)
        self.received.append(received)


class PageViewer:
    """One Streamlit page, open. Timed reruns are noted in `seen`, each from its request to `script_finished`."""

    def __init__(self, here: Served, http: aiohttp.ClientSession, query: dict[str, str] | None = None) -> None:
        self.here, self.http = here, http
        self.query_string = "&".join(f"{k}={v}" for k, v in (query or {}).items())
        self.seen = Seen()
        self.ready = asyncio.Event()
        self.sending = True
        self.waiting: list[float] = []  # requests that no run has answered yet
        self._running: list[float] | None = None
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._page_hash = ""
        self._bytes = 0

    async def stay(self) -> None:
        """Open the page and keep it open until cancelled."""
        url = self.here.url.replace("http", "ws", 1) + "/_stcore/stream"
        try:
            async with self.http.ws_connect(
                url, protocols=("streamlit",), max_msg_size=0, origin=self.here.url
            ) as socket:
                await self._ask(socket)
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.BINARY:
                        break
                    self._take(socket, message.data)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _ask(self, socket: aiohttp.ClientWebSocketResponse, fragment: str = "") -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_script_hash = self.query_string, self._page_hash
        if fragment:
            state.fragment_id, state.is_auto_rerun = fragment, True
        state.context_info.timezone = "UTC"
        state.context_info.url = self.here.url
        await socket.send_bytes(message.SerializeToString())

    def _take(self, socket: aiohttp.ClientWebSocketResponse, data: bytes) -> None:
        message = ForwardMsg.FromString(data)
        kind = message.WhichOneof("type")
        self._bytes += len(data)
        if kind == "new_session":
            self._page_hash = message.new_session.page_script_hash
            # One run answers every request that came before it: Streamlit folds them into one.
            self._running, self.waiting = self.waiting, []
        elif kind == "auto_rerun" and message.auto_rerun.fragment_id not in self._timers:
            self._follow(socket, message.auto_rerun.fragment_id, message.auto_rerun.interval)
        elif kind == "script_finished":
            self._finished(message.script_finished)
        elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "exception":
            self.seen.problems.append(message.delta.new_element.exception.message)

    def _finished(self, how: int) -> None:
        answered = self._running or []
        if how == _FRAGMENT_DONE:
            for asked in answered:
                self.seen.add(asked, self._bytes)
        elif how == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            self.waiting = answered + self.waiting  # the run that replaces it answers them
        elif answered:
            self.seen.problems.append(f"a fragment's run ended as {ForwardMsg.ScriptFinishedStatus.Name(how)}")
        if how == _DONE:
            self.ready.set()
        self._running, self._bytes = None, 0

    def _follow(self, socket: aiohttp.ClientWebSocketResponse, fragment: str, interval: float) -> None:
        async def tick() -> None:
            due = time.perf_counter()
            while True:
                due += interval
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                if self.sending and not self.unanswered:
                    self.waiting.append(time.perf_counter())
                    await self._ask(socket, fragment)

        self._timers[fragment] = asyncio.create_task(tick())

    @property
    def unanswered(self) -> list[float]:
        return [*self.waiting, *(self._running or [])]


class DeskViewer:
    """One visitor of our live page: the page itself, the chart's poll (noted in `seen`) and the ticker strip's."""

    def __init__(self, here: Served, http: aiohttp.ClientSession, query: dict[str, str]) -> None:
        self.page = PageViewer(here, http)
        self.here, self.http, self.query = here, http, query
        self.seen = Seen()
        self.ready = self.page.ready
        self.sending = True
        self.unanswered: list[float] = []

    async def stay(self) -> None:
        """Keep the page open, and ask once a second as its scripts do once they are there."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.page.stay())
            await self.ready.wait()
            tasks.create_task(self._poll(CHART_PATH, {**self.query, "rev": ""}, self.seen))
            tasks.create_task(self._poll(QUOTES_PATH, {"symbols": ",".join(WATCHED)}, Seen()))

    async def _poll(self, path: str, query: dict[str, str], seen: Seen) -> None:
        while True:
            asked = time.perf_counter()
            if self.sending:
                self.unanswered.append(asked)
                async with self.http.get(self.here.url + path, params=query) as reply:
                    body = await reply.read()
                self.unanswered.remove(asked)
                seen.add(asked, int(reply.headers["Content-Length"]))
                answer: dict[str, Any] = orjson.loads(body)
                if "problem" in answer:
                    seen.problems.append(answer["problem"])
                elif "rev" in answer:
                    query["rev"] = answer["rev"]
            await asyncio.sleep(max(0.05, PACE_S - (time.perf_counter() - asked)))


Viewer = PageViewer | DeskViewer


@dataclass(frozen=True, slots=True)
class Watched:
    """One window of watching: seconds and bytes of each update, updates a viewer had a second, and the share of one
    processor core that the server used."""

    took: list[float]
    received: list[int]
    pace: float
    processor: float


async def watch(here: Served, kind: Any, viewers: int, warm_s: float, window_s: float, **query: Any) -> Watched:
    """`viewers` visitors, spread over a second, for `window_s` after `warm_s` of warm-up. RuntimeError where a page
    fails: a broken page must not look quick."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        all_of_them: list[Viewer] = [kind(here, http, query["query"]) for _ in range(viewers)]
        tasks = []
        try:
            for viewer in all_of_them:
                tasks.append(asyncio.create_task(viewer.stay()))
                await asyncio.sleep(PACE_S / viewers)
            await asyncio.wait_for(asyncio.gather(*(v.ready.wait() for v in all_of_them)), 120)
            await asyncio.sleep(warm_s)
            used, begin = here.processor_s(), time.perf_counter()
            await asyncio.sleep(window_s)
            used, end = here.processor_s() - used, time.perf_counter()
            await _let_finish(all_of_them)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
    return _gathered(all_of_them, begin, end, used / (end - begin))


async def _let_finish(viewers: list[Viewer]) -> None:
    """No more questions; those that are under way get their answers, for a quarter of a minute at most."""
    for viewer in viewers:
        viewer.sending = False
    until = time.perf_counter() + 15
    while any(v.unanswered for v in viewers) and time.perf_counter() < until:  # noqa: ASYNC110 - waits for many
        await asyncio.sleep(0.05)


def _gathered(viewers: list[Viewer], begin: float, end: float, processor: float) -> Watched:
    if problems := [p for v in viewers for p in v.seen.problems]:
        raise RuntimeError(f"a viewer saw: {problems[0]}")
    rows = [row for v in viewers for row in zip(v.seen.asked, v.seen.took, v.seen.received, strict=True)]
    inside = [row for row in rows if begin <= row[0] < end]
    if not inside:
        raise RuntimeError("no live update came in the whole window")
    if any(begin <= asked < end for v in viewers for asked in v.unanswered):
        raise RuntimeError("an update asked for in the window had not come a quarter of a minute after it")
    pace = len(inside) / (end - begin) / len(viewers)
    return Watched([row[1] for row in inside], [row[2] for row in inside], pace, processor)
