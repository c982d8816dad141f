"""What a person sees of strategies at work, and the dialog that lets one trade: it asks for exactly what it says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
import performance_utils as pu
from backtest.setup import Exit, Setup
from desk.adoptions import Adoption, BarDecision, Done, State, decide, keep
from tests.conftest import ROOT
from tests.toy_engine import ToyEngine, of_this_machine
from ui import adopting

SETUP = Setup(stop=Exit("atr", 2.0))
WISH = {
    "strategy": "sma_crossover",
    "params": {"fast": 5, "slow": 15},
    "symbols": ["AAPL"],
    "interval": "5m",
    "setup": SETUP.to_dict(),
}


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyEngine]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.chdir(ROOT)
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield of_this_machine(tmp_path / "data")
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    pu.use_desk(None)


def test_a_setup_that_trails_is_kept_and_told() -> None:
    setup = Setup(stop=Exit("pct", 1.0), trail=Exit("atr", 2.0))

    told = adopting._what_happens({**WISH, "setup": setup.to_dict()}, setup).replace("\\", "")

    assert adopting.not_kept(setup) == ""
    assert "Exits, counted from the close that decided: stop 1 % and trailing stop 2 ATR(14)." in told


def page(dialog: str = "", **about: Any) -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / "positions.py"), default_timeout=60)
    if dialog:
        at.session_state["desk_dialog"] = (dialog, uuid4().hex, about)
    at.run()
    assert not at.exception, at.exception
    return at


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def test_a_failed_strategy_is_adopted_only_by_somebody_who_says_they_know(engine: ToyEngine) -> None:
    at = page("adopt", wish=WISH, verdict_word="fail")
    [button] = [b for b in at.button if b.label == "Let it trade on paper"]
    assert button.disabled
    assert "sma_crossover, fast 5, slow 15 · AAPL · 5m" in said(at)
    assert "stop 2 ATR(14)" in said(at)
    assert (
        at.number_input[0].value == 15_000.0
    )  # a fifth of the account is the most for one order: three quarters of it

    assert adopting._why_not(WISH, SETUP, "pass", "any") == ""


def test_what_is_asked_is_what_the_dialog_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting.st, "session_state", {"adopt_cash_k": 15_000.0, "adopt_known_k": True})

    assert adopting._why_not(WISH, SETUP, "fail", "k") == ""
    setup = {**SETUP.to_dict(), "cash": 15_000.0, "exits_from": "signal"}
    assert adopting.asked(WISH, "main", "k") == {**WISH, "setup": setup, "account": "main"}


def test_the_panel_says_what_was_decided_last_and_why_a_strategy_is_paused(engine: ToyEngine) -> None:
    assert "No strategy is at work." in said(page())
    since = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
    one = Adoption("s-1", "main", "sma_crossover", WISH["params"], ("AAPL",), "5m", SETUP, "owner", since)
    bar = BarDecision("s-1", "AAPL", since, 1.0, Done.HELD, "Wants +1, as before. SMA 5 is above SMA 15", D(0), D(0))
    with engine.ledger.write(engine.epoch) as write:
        keep(write, one, State.WORKING, reason="adopted", actor="owner")
        decide(write, bar)
        keep(write, one, State.PAUSED, reason="AAPL: exposure must be a number: got nan", actor="engine")

    at = page()

    assert "sma_crossover 5/15 on AAPL 5m" in said(at)
    assert "Paused: AAPL: exposure must be a number: got nan" in said(at)
    table = next(frame.value for frame in at.dataframe if "Decided" in frame.value)
    assert table.iloc[0][["Symbol", "Decided"]].tolist() == ["AAPL", "as before"]
    assert "SMA 5 is above SMA 15" in table.iloc[0]["Why"]
