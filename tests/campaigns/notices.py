"""Fills come in a burst, three people want to know of each, and engine and notifier are killed again and again:
everybody must be told of every fill, once.

python -m tests.campaigns.notices [fills] [kills of each]      10,000 and 3 unless told
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import notifier
from desk import place as places
from desk.lease import Lease
from desk.people import People
from desk.place import Place
from desk.reader import Reader
from desk.subscriptions import wish
from domain.clock import SystemClock
from domain.notices import Kind
from notices.outbox import Outbox
from notices.sending import Pace
from settings import Settings
from tests import ledgers
from tests.ledgers import acquired, fill, founded, opened, order, working

PEOPLE = ("owner", "ann", "bob")
PATIENCE_S = 900.0
AT_ONCE = 8  # what the webhook has under way together, and so may be in doubt after a kill
ledgers.preload("tests.campaigns.notices", "alerts.email", "alerts.slack", "alerts.sms", "alerts.webhook")


@dataclass(slots=True)
class Tally:
    """What the three were told: how often each message came, by its id."""

    fills: int
    heard: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    doubtful: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def twice(self) -> int:
        """Requests beyond the first of their id: a receiver that keeps the id drops them."""
        return self.heard.total() - len(self.heard)


def tell_all(folder: Path, fills: int, kills: int) -> Tally:
    """`fills` written as fast as an engine can, by one that is killed `kills` times, and told by a notifier that is
    killed as often; then everything counted."""
    tally, begin = Tally(fills), time.perf_counter()
    with _receiver(tally.heard) as url:
        settings = Settings(data_dir=folder, webhook_url=url)
        place, people = _place(settings), People(settings.people_url)
        for person in PEOPLE:
            people.subscribe(wish(person, "fill", symbol="AAPL", channels=["webhook"]))
        ledger, epoch = founded(place.ledger_url, SystemClock())
        with ledger.write(epoch) as write:
            working(write, order("shared", fills))
        ledger.database.close()
        outbox = Outbox(settings.notices_url, SystemClock())
        _follow(settings, place, outbox)
        _live(tally, settings, place, outbox, kills)
        _count(tally, outbox)
        outbox.close()
    tally.seconds = time.perf_counter() - begin
    return tally


def _place(settings: Settings) -> Place:
    return places.paper(settings, "simulated", simulated=False)


def _follow(settings: Settings, place: Place, outbox: Outbox) -> None:
    """The notifier has read the ledger to its end before the burst begins."""
    from notices.ledger_watch import LedgerWatch

    watch = LedgerWatch(place)
    outbox.put([], watch.read(None, Decimal(10**9)).moved)
    watch.close()


def _live(tally: Tally, settings: Settings, place: Place, outbox: Outbox, kills: int) -> None:
    """Engine and notifier, each killed whenever another part of its work is done, until all is told."""
    reader, wanted = Reader(place.ledger_url, SystemClock()), tally.fills * len(PEOPLE)
    engine, teller = _engine(place, tally.fills), _notifier(settings)
    marks = [(n + 1) / (kills + 1) for n in range(kills)]
    engine_marks, teller_marks, end = list(marks), list(marks), time.monotonic() + PATIENCE_S
    while len(tally.heard) < wanted or outbox.counts().get("sent", 0) < wanted:
        if time.monotonic() > end:
            tally.problems.append(f"not all was told within {PATIENCE_S:.0f} s")
            break
        shared = reader.order("shared")
        if engine_marks and shared is not None and shared.filled >= engine_marks[0] * tally.fills:
            engine_marks.pop(0)
            _kill(engine)
            tally.kills += 1
            engine = _engine(place, tally.fills)
        if teller_marks and len(tally.heard) >= teller_marks[0] * wanted:
            teller_marks.pop(0)
            _kill(teller)
            tally.kills += 1
            teller = _notifier(settings)
        time.sleep(0.02)
    _kill(teller)
    engine.join()


def _kill(process: Any) -> None:
    process.kill()
    process.join()


def _count(tally: Tally, outbox: Outbox) -> None:
    wanted = tally.fills * len(PEOPLE)
    people = Counter(name.rpartition(":")[2] for name in tally.heard)
    told = outbox.history(kind=Kind.FILL, most=10 * wanted)  # the log of what was killed is told of besides
    tally.doubtful = sum(one.doubtful for one in told)
    found = {
        "people told of each fill": (dict(people), dict.fromkeys(PEOPLE, tally.fills)),
        "messages in the queue": (len(told), wanted),
        "states": (Counter(str(one.state) for one in told), {"sent": wanted}),
    }
    tally.problems += [f"{what}: {got}, must be {right}" for what, (got, right) in found.items() if got != right]
    if tally.doubtful > AT_ONCE * tally.kills:
        tally.problems.append(
            f"{tally.doubtful} were in doubt after {tally.kills} kills, at most {AT_ONCE} each may be"
        )
    if tally.twice > tally.doubtful:
        tally.problems.append(f"{tally.twice} came twice, only {tally.doubtful} of them say so")


# The processes


def _engine(place: Place, fills: int) -> Any:
    return ledgers.spawn(_write_fills, place.ledger_url, fills)


def _write_fills(url: str, fills: int) -> None:
    """An engine that fills one order share by share, and goes on where the ledger ends."""
    clock = SystemClock()
    ledger = opened(url, clock)
    epoch = acquired(Lease(ledger.database, clock), "engine", 30.0)
    shared = Reader(url, clock).order("shared")
    assert shared is not None
    for n in range(int(shared.filled), fills):
        with ledger.write(epoch) as write:
            write.add_fill(fill(f"f{n:06}", "1", of="shared", fee=Decimal(0), time=clock.now()))


def _notifier(settings: Settings) -> Any:
    return ledgers.spawn(_tell, str(settings.data_dir), settings.webhook_url)


def _tell(folder: str, url: str) -> None:
    settings = Settings(data_dir=Path(folder), webhook_url=url)
    clock = SystemClock()
    people = People(settings.people_url)
    parts = notifier.Parts(
        lambda: settings, people, clock, clock, _place(settings), pace=Pace(first_rest_s=0.1, look_s=0.05)
    )
    asyncio.run(notifier.serve(parts))


@contextlib.contextmanager
def _receiver(heard: Counter[str]) -> Iterator[str]:
    """A stranger's server that counts what it is told."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with one:
                heard[self.headers["Idempotency-Key"]] += 1
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Calm(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Whoever was talking was killed."""

    one, server = threading.Lock(), Calm(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def run(evidence: Path, fills: int = 10_000, kills: int = 3) -> bool:
    """The campaign; writes what it found and says whether it found nothing."""
    with tempfile.TemporaryDirectory() as folder:
        tally = tell_all(Path(folder), fills, kills)
    evidence.write_text(
        "# Everybody is told of everything, once\n\n"
        f"{fills:,} fills in a burst, each for {len(PEOPLE)} subscribers, by an engine and a notifier that were killed "
        f"(SIGKILL) {tally.kills} times between them, in {timedelta(seconds=round(tally.seconds))}: "
        f"{len(tally.heard):,} different messages arrived of {fills * len(PEOPLE):,}. Requests that came once more, "
        f"with the same Idempotency-Key: {tally.twice}; messages that say that they may: {tally.doubtful}. "
        f"Lost or doubled: {len(tally.problems)}.\n" + "".join(f"- {problem}\n" for problem in tally.problems[:20]),
        encoding="utf-8",
    )
    return not tally.problems


def main(fills: int = 10_000, kills: int = 3) -> int:
    """Run it and print what it found; 1 where something was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "notices.md"
        sound = run(report, fills, kills)
        print(report.read_text(encoding="utf-8"))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
