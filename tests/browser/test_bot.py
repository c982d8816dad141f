"""The strategies at work in a real Chromium: one that is adopted for real over the simulated market, asked by a real
engine on the bar that closes, and told why it did what it did."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from backtest.setup import Exit, Setup
from desk.adoptions import State, adoptions, decisions
from desk.inbox import Inbox
from desk.reader import Reader
from domain.clock import SystemClock
from domain.commands import Command, CommandState, Kind
from filters.volume import Volume
from tests.browser.conftest import PHONE, Server, start_server

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]
SHOTS = os.environ.get("DESK_SHOTS", "")
SETUP = Setup(cash=10_000.0, fraction=0.2, stop=Exit("atr", 2.0), filters=(Volume(bars=20),), exits_from="signal")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Server]:
    """Some seconds before a minute is over, so that a bar closes while somebody looks."""
    (tmp_path / "data").mkdir()
    server = start_server(tmp_path / "data", SIMULATED_START="2026-11-20T10:34:53")
    yield server
    server.stop()


def told(server: Server, kind: Kind, **payload: Any) -> None:
    """A command by the inbox, answered before this returns."""
    url = f"sqlite:///{server.data}/ledger-paper-simulated.db"
    reader, inbox, key, end = Reader(url, SystemClock()), Inbox(url, SystemClock()), uuid.uuid4().hex, time.monotonic()
    while not reader.accounts():
        assert time.monotonic() < end + 30, "no engine runs"
        time.sleep(0.05)
    inbox.append(Command(key, kind, "owner", payload))
    while (answer := inbox.answer(key)) is None:
        assert time.monotonic() < end + 30, f"{kind} was not answered"
        time.sleep(0.05)
    assert answer.state is CommandState.DONE, answer.said


def reader_of(server: Server) -> Reader:
    return Reader(f"sqlite:///{server.data}/ledger-paper-simulated.db", SystemClock())


def test_a_bar_closes_and_the_page_says_why_it_was_traded_or_not(desk: Server, page: Page) -> None:
    wish = {"strategy": "sma_crossover", "params": {"fast": 3, "slow": 8}, "symbols": ["AAPL", "NVDA"]}
    told(desk, Kind.ADOPT, **wish, interval="1m", setup=SETUP.to_dict())
    page.goto(f"{desk.url}/bot")
    expect(page.get_by_text("SMA crossover (fast 3, slow 8")).to_be_visible()
    expect(page.get_by_text("let in by Volume (bars 20, percentile 50.0), within 3 bars")).to_be_visible()
    table = page.get_by_test_id("stDataFrame").first
    expect(table).to_be_visible()
    page.evaluate("window.__kept = document.querySelector('[data-testid=stDataFrame]')")

    expect(table).to_contain_text("SMA 3", timeout=90_000)  # the next minute, where this machine was too late for one

    reader = reader_of(desk)
    [one] = adoptions(reader)
    for symbol in one.symbols:
        [last] = decisions(reader, one.id, symbol)
        for said in last.verdicts:
            expect(table).to_contain_text(f"{said.name} {'passes' if said.passes else 'holds back'}: {said.why}")
    assert page.evaluate("window.__kept.isConnected")
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / "bot.png"))
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("button", name="Pause it").click()
    expect(page.get_by_text("Paused: paused by owner. Its stops go on resting.")).to_be_visible()
    assert [each.state for each in adoptions(reader)] == [State.PAUSED]
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
