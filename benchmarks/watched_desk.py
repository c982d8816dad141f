"""A desk that trades at a simulator of its own: its engine is the real program in a process of its own, told what to do
through its inbox; each of its calls to E*TRADE is written down."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.watched_engine import Notes, read
from desk import place as places
from desk.authority import LOCAL_OWNER
from desk.inbox import Inbox
from desk.reader import Reader
from desk.ticket import to_json
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import DeskError
from domain.orders import OrderRequest, OrderType, Side, TimeInForce
from etrade.vault import file_key
from settings import Settings
from simulator._server import Options
from simulator._state import Account, Kept
from simulator.running import Running, running
from tests.etrade_person import code_of

REPOSITORY = Path(__file__).parent.parent
NUMBER, KEY, NAME = "83520017", "-kQ7mZr2VxPbN4tYwEoH_A", "••••0017"  # the simulator's margin account
PRICE = Decimal(100)
FILLS_WITHIN_S = 0.1
PATIENCE_S = 120.0
# Wide enough that only E*TRADE's pace is in the way.
LIMITS: dict[str, Any] = {
    "max_notional": 50_000.0,
    "max_daily_loss_pct": 20.0,
    "max_orders_per_day": 5_000,
    "max_orders_per_minute": 60,
    "max_open_positions": 200,
    "max_gross_pct": 400.0,
    "max_symbol_pct": 100.0,
    "max_sector_pct": 400.0,
    "max_group_pct": 400.0,
    "max_clock_skew_s": 150.0,
    "max_quote_age_s": 300.0,
}


class WatchedDesk:
    """See above. Prices stand still at 100; a market order fills within a tenth of a second."""

    def __init__(self, folder: Path, sim: Running, symbols: list[str]) -> None:
        self.folder, self.sim, self.symbols = folder, sim, symbols
        self.settings = Settings(
            data_dir=folder / "data",
            data_source="etrade",
            trading="etrade",
            etrade_environment="simulator",
            etrade_simulator_url=sim.url,
            etrade_account_id=NUMBER,
        )
        file_key(self.settings.etrade_dir)  # nothing is put into this machine's keyring
        place = places.etrade(self.settings, "etrade-simulator")
        self.clock = sim.server.clock
        self.reader, self._inbox = Reader(place.ledger_url, self.clock), Inbox(place.ledger_url, self.clock)
        self._names, self._over_before = itertools.count(1), 0
        self._process: subprocess.Popen[bytes] | None = None
        for symbol in symbols:
            sim.price(symbol, str(PRICE), bid="99.99", ask="100.01", volume="1000000", previous_close="100")

    # The engine

    def start(self, *, limited: bool = True) -> float:
        """Start the engine's program and wait until it can act; the moment of the start, by the machine's clock."""
        if limited != self.sim.server.limits.enforced:
            self.sim.control("rules", limits=limited)
            self._over_before = self._over()
        set_here = {name.upper() for name in Settings.model_fields}
        environment = {name: value for name, value in os.environ.items() if name not in set_here} | {
            "PYTHONPATH": str(REPOSITORY),
            "DATA_DIR": str(self.settings.data_dir),
            "DATA_SOURCE": "etrade",
            "TRADING": "etrade",
            "ETRADE_ENVIRONMENT": "simulator",
            "ETRADE_SIMULATOR_URL": self.sim.url,
            "ETRADE_ACCOUNT_ID": NUMBER,
        }
        command = [sys.executable, "-m", "benchmarks.watched_engine", str(self.folder / "notes")]
        began = time.time()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *([] if limited else ["--unlimited"])],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return began

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is said."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def notes(self) -> Notes:
        return read(self.folder / "notes")

    def is_ready(self) -> bool:
        with suppress(FileNotFoundError):
            return self.notes().ready > 0
        return False

    def found(self) -> None:
        """Signed in, its limits set, armed."""
        self.until(lambda: self.reader.engine() is not None, "an engine")
        link = self.ask(Kind.SIGN_IN, step="link")
        self.ask(Kind.SIGN_IN, step="code", code=code_of(link.details["url"]))
        self.until(self.is_ready, "an engine that is ready")
        self.ask(Kind.PICK_ACCOUNT, account=NAME)
        for name, value in LIMITS.items():
            self.ask(Kind.SET_LIMIT, name=name, value=value)
        self.until(self._agreed, "cash and shares that agree")
        self.ask(Kind.ARM, account=NAME, phrase=f"TRADE {NUMBER[-4:]}")

    def _agreed(self) -> bool:
        engine = self.reader.engine()
        steps = engine.details.get("arming", {}).get("steps", []) if engine else []
        return bool(steps) and all(step["done"] for step in steps)

    # What people ask

    def append(self, kind: Kind, **payload: Any) -> str:
        key = f"bench-{kind.name.lower()}-{next(self._names):05}"
        self._inbox.append(Command(key, kind, LOCAL_OWNER, payload))
        return key

    def ask(self, kind: Kind, **payload: Any) -> Answer:
        """Append it and wait until it is done; RuntimeError where it is refused."""
        key = self.append(kind, **payload)
        self.until(lambda: self._inbox.answer(key) is not None, f"an answer to {kind}")
        answer = self._inbox.answer(key)
        if answer is None or answer.state is not CommandState.DONE:
            raise RuntimeError(f"{kind}: {answer.said if answer else 'no answer'}")
        return answer

    def buy(self, symbol: str, limit: str = "") -> str:
        """Ten shares, with a stop four per cent below; the command's key."""
        request = OrderRequest(
            *(NAME, symbol, Side.BUY, Decimal(10), OrderType.LIMIT if limit else OrderType.MARKET),
            limit=Decimal(limit) if limit else None,
            time_in_force=TimeInForce.DAY,
            stop_loss=Decimal(96) if not limit else Decimal(limit) - 4,
        )
        return self.append(Kind.PLACE, request=to_json(request))

    # What the simulator knows

    @property
    def account(self) -> Account:
        return next(one for one in self.sim.server.state.accounts if one.account_id == NUMBER)

    def stops(self) -> dict[str, Kept]:
        """The stops that rest, by symbol."""
        return {kept.ticket.symbol: kept for kept in list(self.account.orders) if kept.live and is_stop(kept)}

    def machine(self, moment: datetime) -> float:
        """A moment of the simulator's, by the machine's clock."""
        return (moment - self.clock.offset).timestamp()

    def over_limits(self) -> int:
        """Calls beyond E*TRADE's limits since the first start that keeps to them."""
        return self._over() - self._over_before

    def _over(self) -> int:
        return sum(self.sim.control("counters", "GET")["over_limit"].values())

    def until(self, seen: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Look every fiftieth of a second until it is there; RuntimeError where it does not come."""
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            with suppress(DeskError):
                if seen():
                    return
            if self._process is not None and self._process.poll() is not None:
                break
            time.sleep(0.02)
        engine = self.reader.engine()
        said = "; ".join(engine.details.get("problems", [])) if engine else ""
        raise RuntimeError(f"there was never {what}: {said or (self.folder / 'log').read_text()[-1_000:]}")


def is_stop(kept: Kept) -> bool:
    return kept.ticket.price_type == "STOP"


@contextmanager
def watched_desk(folder: Path, symbols: list[str], *, limited: bool = True) -> Iterator[WatchedDesk]:
    """One that is armed, at a simulator whose time runs; `limited` False: as fast as it goes, until it is started
    again."""
    folder.mkdir()
    with running(Options(cash=Decimal(1_000_000))) as sim:
        desk, over = WatchedDesk(folder, sim, symbols), threading.Event()
        sim.control("clock", stop=False)
        ticking = threading.Thread(target=_tick, args=(sim, over), daemon=True)
        ticking.start()
        try:
            desk.start(limited=limited)
            desk.found()
            yield desk
        finally:
            desk.kill()
            over.set()
            ticking.join()


def _tick(sim: Running, over: threading.Event) -> None:
    while not over.wait(FILLS_WITHIN_S):
        sim.control("tick")
