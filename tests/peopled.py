"""A desk with people, for tests of its pages: a ledger that holds something, one person of each role, one browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
import performance_utils as pu
from desk.accounts import Accounts
from domain.clock import ManualClock
from domain.orders import OrderType
from tests.accounts import PASSWORD, with_people
from tests.conftest import ROOT
from tests.toy_engine import ToyEngine, of_this_machine
from tests.trading import MORNING
from ui import sign_in

PAGES = [*sorted((ROOT / "pages").glob("*.py")), ROOT / "streamlit_dashboard.py"]
SYMBOL, PRICE, FIGURE = "NFLX", Decimal("4711.08"), "711.08"  # what a stranger must never see


@dataclass(slots=True)
class Peopled:
    """`cookies` are the browser's: AppTest has none of its own."""

    accounts: Accounts
    clock: ManualClock
    engine: ToyEngine
    cookies: dict[str, str] = field(default_factory=dict)

    def enter(self, name: str) -> str:
        """Sign in as this person; the reference that commands carry."""
        self.cookies["sid"] = self.accounts.sign_in(name, PASSWORD)
        signed = self.accounts.who(self.cookies["sid"])
        assert signed is not None
        return signed.actor


@contextmanager
def peopled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peopled]:
    """Signed out at first."""
    monkeypatch.setenv("DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.setenv("MODELS_DIR", str(folder / "models"))
    monkeypatch.chdir(ROOT)
    for kept in (bootstrap.people, bootstrap._trading):
        kept.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    clock = ManualClock(MORNING)
    accounts = with_people(folder, clock)
    found = Peopled(accounts, clock, of_this_machine(folder / "data"))
    monkeypatch.setattr(bootstrap, "accounts", lambda: accounts)
    monkeypatch.setattr(sign_in, "_secret", lambda: sign_in.secret_in(found.cookies))
    bootstrap.people().prefer("symbol", SYMBOL)
    found.engine.holds(SYMBOL, "41")
    with found.engine.ledger.write(found.engine.epoch) as write:
        found.engine.order(write, SYMBOL, Decimal(3), type=OrderType.LIMIT, limit=PRICE)
    yield found
    for kept in (bootstrap.people, bootstrap._trading):
        kept.cache_clear()
    pu.use_desk(None)


def page(path: Path, **query: str) -> AppTest:
    at = AppTest.from_file(str(path), default_timeout=60)
    at.query_params.update(query)
    at.run()
    assert not at.exception, at.exception
    return at


def words(at: AppTest) -> str:
    """All that a page holds, whatever it is drawn as."""
    return "\n".join(repr(element.proto) for element in _elements(at._tree))


def _elements(block: object) -> Iterator[object]:
    children = getattr(block, "children", None)
    if children:
        for child in children.values():
            yield from _elements(child)
    if hasattr(block, "proto") and block.proto is not None:
        yield block
