"""python -m simulator.demo: a market day in under seven minutes, on http://127.0.0.1:8501. See docs/demo.md."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import settings as settings_file
from desk import place as places
from desk.inbox import Inbox
from desk.live_book import LiveBook
from desk.people import People
from desk.place import Place
from desk.reader import Reader
from domain.calendars import NEW_YORK
from domain.clock import Clock, SystemClock, monotonic
from domain.errors import DeskError
from feeds.market import open_market
from notices.summary import summary
from settings import Settings
from simulator.demo import person, room, script, server

FOLDER = Path("demo-data")
STARTS_WITHIN_S = 90.0
ENGINE_WITHIN_S = 60.0
LOOK_S = 0.1


def main(arguments: list[str] | None = None) -> int:
    """0 after Ctrl+C (or SIGTERM, or a terminal that was closed), 2 where it could not begin."""
    given = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        return _run(given.folder.resolve(), given.port, given.speed, given.wait, stop)
    except DeskError as error:
        print(str(error), file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator.demo", description="A scripted market day, hurried.")
    parser.add_argument("--port", type=_between(1, 65535, int), default=8501, help="where the dashboard listens (8501)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="a folder of its own, made anew (demo-data)")
    fast = "how fast the clock runs, 1 to 120 (60)"
    parser.add_argument("--speed", type=_between(1, 120, float), default=script.SPEED, help=fast)
    parser.add_argument(
        "--wait",
        type=_between(0, 3600, float),
        default=12.0,
        help="seconds to open the page before the day begins (12)",
    )
    return parser


def _between(least: float, most: float, read: type[int] | type[float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = read(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{least} to {most}: got {text}")
        return value

    number.__name__ = "number"  # as a refusal calls what was no number at all
    return number


def _run(folder: Path, port: int, speed: float, wait: float, stop: threading.Event) -> int:
    if server.answers(port):
        print(f"Something answers on port {port} already: stop it, or name another with PORT=8600", file=sys.stderr)
        return 2
    room.made(folder)
    chosen: dict[str, Any] = {
        "data_dir": folder,
        "models_dir": folder / "models",
        "data_source": "simulated",
        "trading": "paper",
        "database_url": "",
        "demo_speed": speed,
        "watchlist": ",".join(script.WATCHED),
    }
    said = {name: str(value) for name, value in chosen.items()}
    process = server.started(folder, port, settings_file.without_ours(**said))
    try:
        return _day(Settings(_env_file=None, **chosen), folder, port, wait, stop, process)
    finally:
        server.ended(process)
        print("The demo has ended; nothing of it runs any more.")


def _day(settings: Settings, folder: Path, port: int, wait: float, stop: threading.Event, process: Any) -> int:
    print("DEMO · simulated prices · a fast clock. Nothing here is real, and nothing of yours is touched.", flush=True)
    if not _until(lambda: server.answers(port), STARTS_WITHIN_S, stop, process):
        return _failed(folder, stop)
    market = open_market(settings, SystemClock())
    place, clock = places.of(settings, market.price_source, market.simulated), market.clock
    inbox, reader = Inbox(place.ledger_url, clock), Reader(place.ledger_url, clock)
    if not _until(lambda: reader.engine() is not None and bool(reader.accounts()), ENGINE_WITHIN_S, stop, process):
        return _failed(folder, stop)
    book = LiveBook(place.live_path)
    somebody = person.Person(inbox, reader, book, clock, _teller(clock), stop.is_set)
    # The hand of the script is the owner's too: a guide to a first trade would tick by itself.
    People(settings.people_url, settings.watchlist).prefer("guide", "away")
    print(f"Open http://127.0.0.1:{port} now: the day begins in {wait:g} s (Ctrl+C ends everything).", flush=True)
    somebody.settles_in()  # while the clock stands
    somebody.adopts()
    stop.wait(wait)
    room.begin(folder, SystemClock().now())
    person.live(somebody, stop.is_set)
    while not stop.is_set() and clock.now() < script.moment(script.ENDS) and process.poll() is None:
        stop.wait(LOOK_S)
    if not stop.is_set() and process.poll() is None:
        _tells_of(place, reader, book, clock)
        print(f"The day is over. http://127.0.0.1:{port} stays readable until Ctrl+C.", flush=True)
    while not stop.is_set() and process.poll() is None:
        stop.wait(LOOK_S)
    return 0 if stop.is_set() else _failed(folder, stop)


def _until(claim: Any, seconds: float, stop: threading.Event, process: Any) -> bool:
    end = monotonic() + seconds
    while not claim():
        if stop.is_set() or process.poll() is not None or monotonic() > end:
            return False
        time.sleep(LOOK_S)
    return True


def _failed(folder: Path, stop: threading.Event) -> int:
    if stop.is_set():
        return 0
    print(f"The dashboard stopped or did not start: {folder / 'dashboard.log'} says why.", file=sys.stderr)
    return 2


def _teller(clock: Clock) -> Any:
    return lambda said: print(f"{clock.now().astimezone(NEW_YORK):%H:%M}  {said}", flush=True)


def _tells_of(place: Place, reader: Reader, book: LiveBook, clock: Clock) -> None:
    told = summary(place, reader, book, script.DAY, clock.now())
    print(f"\n{told.title}\n{told.text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
