"""Ledgers to test with, in SQLite and in a real PostgreSQL, and the processes that write them and are killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from desk import crash
from desk.database import Database
from desk.lease import Lease
from desk.ledger import Ledger
from desk.writing import Writing
from domain.clock import Clock, ManualClock, SystemClock
from domain.errors import LeaseHeld
from domain.orders import Fill, Order, OrderRequest, Side, Status

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
CASH = Decimal(100_000)
# Clean children: they inherit neither our threads nor our database connections.
PROCESSES = multiprocessing.get_context("forkserver")
_preloaded: list[str] = []


def preload(*modules: str) -> None:
    """Let these be imported once, before the first child is forked, beside those that others asked for."""
    _preloaded.extend(name for name in modules if name not in _preloaded)
    PROCESSES.set_forkserver_preload(_preloaded)


preload("tests.ledgers")


def opened(url: str, clock: Clock | None = None) -> Ledger:
    """A ledger of the paper desk over simulated prices."""
    return Ledger.open(url, desk="paper", price_source="simulated", clock=clock or ManualClock(NOW))


def founded(url: str, clock: Clock | None = None) -> tuple[Ledger, int]:
    """A ledger with a margin account `main`, and the epoch to write with."""
    clock = clock or ManualClock(NOW)
    ledger = opened(url, clock)
    epoch = Lease(ledger.database, clock).acquire("test engine")
    with ledger.write(epoch) as write:
        write.add_account("main", "margin", CASH)
    return ledger, epoch


def order(id_: str = "o1", quantity: int = 100, *, symbol: str = "AAPL", side: Side = Side.BUY) -> Order:
    """A new market order."""
    return Order(id_, OrderRequest("main", symbol, side, Decimal(quantity)), Status.NEW, NOW, NOW)


def fill(id_: str = "f1", quantity: str = "40", price: str = "10.01", *, of: str = "o1", **changed: Any) -> Fill:
    """A fill of that order, fee half a dollar."""
    values = {"account": "main", "symbol": "AAPL", "side": Side.BUY, "time": NOW, "fee": Decimal("0.5"), **changed}
    return Fill(id=id_, order_id=of, quantity=Decimal(quantity), price=Decimal(price), **values)


def working(write: Writing, new: Order, broker_id: str = "") -> Order:
    """That order, at the broker."""
    write.add_order(new)
    return write.move(write.move(new, Status.SENDING), Status.WORKING, broker_id=broker_id)


@contextmanager
def tampering(url: str) -> Iterator[sa.Connection]:
    """A hand in the file that no trigger stops."""
    database = Database(url)
    with database.write() as db:
        if database.path:
            triggers = db.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
            for name, _ in triggers:
                db.execute(sa.text(f"DROP TRIGGER {name}"))
        else:
            db.execute(sa.text("SET session_replication_role = replica"))
        yield db
    database.engine.dispose()


# PostgreSQL


def postgres_binaries() -> Path | None:
    """The newest server on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name.split(".")[0]))
    on_path = shutil.which("postgres")
    return found[-1] if found else Path(on_path).parent if on_path and shutil.which("initdb") else None


@contextmanager
def postgres() -> Iterator[str]:
    """A server of our own on loopback, gone afterwards; yields the address of its first database."""
    binaries = postgres_binaries()
    assert binaries is not None
    as_whom: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    secret = secrets.token_hex(16)
    (folder / "secret").write_text(secret)
    if as_whom:
        for path in (folder, folder / "secret"):
            shutil.chown(path, "postgres", "postgres")
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **as_whom}
    auth = ["--auth=scram-sha-256", f"--pwfile={folder / 'secret'}", "--username=desk", "--encoding=UTF8"]
    subprocess.run([binaries / "initdb", "-D", folder / "data", "--no-sync", *auth], check=True, **quiet)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"]
    arguments = [part for setting in settings for part in ("-c", setting)]
    server = subprocess.Popen([binaries / "postgres", "-D", folder / "data", *arguments], **quiet)
    try:
        url = f"postgresql://desk:{secret}@127.0.0.1:{port}/postgres"
        _wait_for(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert server.poll() is None, "the PostgreSQL server did not start"
        with suppress(psycopg.OperationalError), psycopg.connect(url):
            return
        time.sleep(0.05)
    raise AssertionError("the PostgreSQL server does not answer")


# Processes


def spawn(target: Callable[..., None], *arguments: Any) -> Any:
    """A process of its own."""
    process = PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def acquired(lease: Lease, holder: str, patience_s: float = 3.0) -> int:
    """The lease, as soon as the last holder's death has been noticed."""
    for _ in range(int(patience_s / 0.02)):
        with suppress(LeaseHeld):
            return lease.acquire(holder)
        time.sleep(0.02)
    return lease.acquire(holder)


def die_at(point: str, after: int) -> crash.Hook:
    """A hook that kills its own process the `after`th time that it passes `point`."""
    passed = 0

    def hook(name: str) -> None:
        nonlocal passed
        passed += name == point
        if passed >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def trade_until_killed(url: str, run: str, seed: int, point: str, told: Any) -> None:
    """Open, take the lease, fill order after order, and tell each commit; dies at `point`, or when it is killed."""
    chance = random.Random(seed)
    if point:
        crash.install(die_at(point, 1 if point == "after_lease" else chance.randint(1, 12)))
    ledger = opened(url, SystemClock())
    lease = Lease(ledger.database, SystemClock(), timedelta(seconds=30))
    epoch = acquired(lease, f"engine {run}")
    with ledger.write(epoch) as write:
        write.add_account("main", "margin", CASH)
    for n in range(100_000):
        _trade(ledger, epoch, f"{run}-{n}", chance)
        told.send(f"{run}-{n}")


def _trade(ledger: Ledger, epoch: int, name: str, chance: random.Random) -> None:
    new = order(name, 100)
    with ledger.write(epoch) as write:
        write.add_order(new)
        sending = write.move(new, Status.SENDING)
    with ledger.write(epoch) as write:
        write.move(sending, Status.WORKING, broker_id=f"b-{name}")
        first = chance.randint(1, 99)
        for part, quantity in enumerate((first, 100 - first)):
            price = Decimal(chance.randint(900, 1100)) / 100
            write.add_fill(fill(f"{name}-{part}", str(quantity), str(price), of=name))
        done = write.order(name)
        assert done is not None
        write.move(done, Status.FILLED)
