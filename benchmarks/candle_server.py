"""A candle server for the fetch measurement: 1,000 candles a symbol, each answer after 100 ms, in its own process.

python -m benchmarks.candle_server     prints its port, serves until its input closes
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
from aiohttp import web

from benchmarks.servers import ROOT
from domain.candles import expected, timeframe
from domain.instruments import instrument

LATENCY_S = 0.1
ROWS = 1000
NOW = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)  # the close of a Friday
INTERVAL, DAYS = "5m", 22
_QUERY = "symbol={symbol}&interval={interval}&start={start}&end={end}"


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The server's CANDLES_URL; the process ends with the block."""
    command = [sys.executable, "-m", "benchmarks.candle_server"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/candles?{_QUERY}"
    finally:
        process.kill()
        process.communicate()


@functools.cache
def body(symbol: str) -> bytes:
    """A symbol's candles as a list of objects, as most servers write them."""
    tf, stock = timeframe(INTERVAL), instrument(symbol)
    times = expected(NOW - timedelta(days=DAYS), NOW, tf, stock)[-ROWS:]
    draw = np.random.default_rng(sum(map(ord, symbol)))
    close = (100 * np.exp(np.cumsum(draw.normal(0, 0.002, len(times))))).round(2)
    opens = np.r_[close[:1], close[:-1]]
    high, low = np.maximum(opens, close) + 0.05, np.minimum(opens, close) - 0.05
    volume = draw.integers(1, 100_000, len(times))
    stamps = np.datetime_as_string(times.view("datetime64[ns]"), unit="s").tolist()
    columns = (stamps, opens.tolist(), high.round(2).tolist(), low.round(2).tolist(), close.tolist(), volume.tolist())
    names = ("time", "open", "high", "low", "close", "volume")
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])


async def _serve() -> None:
    async def candles(request: web.Request) -> web.Response:
        await asyncio.sleep(LATENCY_S)
        return web.Response(body=body(request.query["symbol"]), content_type="application/json")

    app = web.Application()
    app.router.add_get("/candles", candles)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    print(site._server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)), daemon=True).start()
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve())
