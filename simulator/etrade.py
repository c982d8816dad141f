"""python -m simulator.etrade: an E*TRADE of one's own on http://127.0.0.1:8189, for demos and tests. See
docs/simulator.md."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from domain.calendars import NEW_YORK, Phase, calendar
from domain.clock import Clock, SystemClock
from domain.errors import DeskError, SettingsError
from simulator._clock import MovedClock
from simulator._market import EXCHANGE, PriceSource, Row, read_tape
from simulator._server import CONSUMER_KEY, CONSUMER_SECRET, Etrade, Options

__all__ = ["CONSUMER_KEY", "CONSUMER_SECRET", "Etrade", "MovedClock", "Options", "Row", "begun", "main"]

AFTER_OPEN = timedelta(hours=1)


def begun(real: Clock, start: str = "") -> MovedClock:
    """The clock a simulator begins with: at `start` (ISO, New York's where no zone is written); else now while New York
    trades, or the last session's 10:30. SettingsError where `start` is no time."""
    clock = MovedClock(real)
    if start:
        clock.begin_at(_moment(start))
    elif (market := calendar(EXCHANGE)).phase(clock.now()) is not Phase.OPEN:
        clock.begin_at(market.last_open(clock.now()) + AFTER_OPEN)
    return clock


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--start must be a time such as 2026-11-20T10:30: got {text!r}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=NEW_YORK)


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulator.etrade", description="A stateful E*TRADE, simulated.")
    parser.add_argument("--port", type=int, default=8189, help="where it listens (8189); 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address; any other is refused")
    parser.add_argument("--base", default="", help="its address as callers see it, where a proxy stands before it")
    parser.add_argument("--seed", type=int, default=7, help="for tokens and codes")
    parser.add_argument("--cash", default="100000", help="dollars in each of the two accounts")
    parser.add_argument("--start", default="", help="the time it begins at, such as 2026-11-20T10:30 New York")
    parser.add_argument("--tape", type=Path, help="a CSV file of prices: symbol,last,bid,ask,volume")
    parser.add_argument("--state", type=Path, help="a file that keeps orders and tokens over a restart")
    parser.add_argument("--manual", action="store_true", help="no tick each second: only /simulator/tick")
    return parser.parse_args(given)


def _options(given: argparse.Namespace) -> Options:
    try:
        cash = Decimal(given.cash)
    except InvalidOperation:
        cash = Decimal(0)
    if not (cash.is_finite() and 0 < cash <= 10**9):
        raise SettingsError(f"--cash must be above zero and at most 1,000,000,000: got {given.cash}")
    tape = tuple(read_tape(given.tape)) if given.tape else ()
    return Options(given.port, given.host, given.seed, cash, given.base, given.state, not given.manual, tape)


async def _run(options: Options, clock: MovedClock, feed: PriceSource) -> None:
    server = Etrade(options, clock, feed)
    await server.start()
    now = clock.now().astimezone(NEW_YORK).strftime("%a %d %b %Y %H:%M")
    print(f"SIMULATED E*TRADE on {server.url} (stop it with Ctrl+C)")
    print(f"  consumer key     {CONSUMER_KEY}\n  consumer secret  {CONSUMER_SECRET}")
    print(f"  its time         {now} New York", flush=True)
    stopped = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stopped.set)
    try:
        await stopped.wait()
    finally:
        await server.stop()


def main(given: list[str] | None = None) -> int:
    """Runs until it is stopped; 2 where it cannot begin."""
    import settings
    from feeds.simulated import SimulatedFeed

    arguments = _arguments(given)
    try:
        clock = begun(SystemClock(), arguments.start)
        feed = SimulatedFeed(settings.load(simulated_clock="real", simulated_start=""), clock)
        asyncio.run(_run(_options(arguments), clock, feed))
    except (DeskError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
