"""The ladder: what each rung lets a strategy do, what the next one needs, and that no step is ever half taken."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from backtester import Exit, Setup
from desk import adoption_line, crash
from desk import place as places
from desk.adoptions import Adoption, BarDecision, Done, State, adoptions, decide, decisions, keep, orders
from desk.authority import LOCAL_OWNER, Authority
from desk.evidence import Unread, Work, at_work, backtested
from desk.inbox import Inbox
from desk.ladder import Need, _of_small, standing
from desk.nights import Night
from desk.place import Place
from desk.reader import Reader
from desk.rungs import Rung, Stage, Why, bounds_of, keep_step, stage_of
from domain import candles as cd
from domain.commands import Answer, CommandState, Kind
from domain.instruments import instrument
from domain.limits import Limits
from domain.matching import FillRules
from domain.metrics import Metric
from domain.orders import Purpose
from research import jobs as jobs_module
from research.jobs import Jobs
from research.runner import Pulse, carry_out
from research.study import Asked, Chosen, Study
from settings import Settings
from strategies.base import find
from tests import studies
from tests.accounts import PASSWORD, with_people
from tests.etrade_trading import TradingDesk, trading_desk
from tests.faults.points import Died, at
from tests.nights import DAY, Nights
from tests.replaying import Replay, made_bars
from tests.trading import MORNING, PaperDesk, trading

DONE, REFUSED = CommandState.DONE, CommandState.REFUSED
RULES = Setup(cash=15_000.0, fraction=0.9, fills=FillRules(ignore_volume=True), exits_from="signal")
STOPS = dataclasses.replace(RULES, stop=Exit("atr", 1.0), target=Exit("atr", 1.5))
SMA = ("sma_crossover", {"fast": 3, "slow": 8})


@pytest.fixture
async def replay(tmp_path: Path) -> AsyncIterator[Replay]:
    """A paper desk in the middle of a quiet morning."""
    replay = Replay(tmp_path, {"AAPL": made_bars(11, days=2)})
    await replay.begin(replay.frames["AAPL"].index[90].to_pydatetime())
    yield replay
    assert replay.desk.problems() == []
    await replay.desk.stop()


def of(replay: Replay) -> Adoption:
    [one] = adoptions(replay.desk.reader)
    return one


def rung_of(replay: Replay) -> Rung:
    return stage_of(replay.desk.reader, of(replay), live=False).rung


def entries(replay: Replay, since: datetime) -> list[Any]:
    made = orders(replay.desk.reader, of(replay))
    return [one for one in made if one.request.purpose is Purpose.ENTRY and one.created > since]


# Up and down on paper


async def test_a_step_down_opens_nothing_closes_what_is_held_and_a_step_up_begins_anew(replay: Replay) -> None:
    id_ = await replay.adopt(*SMA, STOPS)
    await replay.until_held()

    down = await replay.desk.ask(Kind.DEMOTE, id=id_, reason="I do not trust it")
    demoted = replay.clock.now()
    held = replay.desk.held()
    await replay.bars_close(14)

    assert (down.state, rung_of(replay)) == (DONE, Rung.RESEARCH)
    assert held
    assert replay.desk.held() == 0
    assert entries(replay, demoted) == []
    told = decisions(replay.desk.reader, id_, "AAPL", 14)
    assert any(one.done is Done.SHADOW and one.wanted and "nothing is ordered" in one.said for one in told)

    up = await replay.desk.ask(Kind.PROMOTE, id=id_, turns=200)
    promoted = replay.clock.now()
    await replay.bars_close(2)

    assert (up.state, rung_of(replay)) == (DONE, Rung.PAPER), up.said
    assert len(entries(replay, promoted)) >= 1
    stage = stage_of(replay.desk.reader, of(replay), live=False)
    assert [(step.why, step.rung, step.actor) for step in stage.steps] == [
        (Why.DEMOTED, Rung.RESEARCH, "owner"),
        (Why.PROMOTED, Rung.PAPER, "owner"),
    ]
    assert "I do not trust it" in stage.steps[0].reason


async def test_a_pause_asks_nothing_and_what_closed_meanwhile_is_missed(replay: Replay) -> None:
    id_ = await replay.adopt(*SMA, RULES)
    await replay.bars_close(2)

    first = await replay.desk.ask(Kind.PAUSE_STRATEGY, key="pause-it-once", id=id_)
    again = await replay.desk.ask(Kind.PAUSE_STRATEGY, key="pause-it-once", id=id_)
    twice = await replay.desk.ask(Kind.PAUSE_STRATEGY, id=id_)
    paused = of(replay)
    before = decisions(replay.desk.reader, id_, "AAPL", 50)
    replay.clock.advance(minutes=32)
    await replay.desk.tick(3)
    silent = decisions(replay.desk.reader, id_, "AAPL", 50)
    resumed = await replay.desk.ask(Kind.RESUME_STRATEGY, id=id_)
    await replay.bars_close(1)

    assert (first.state, again.said, twice.state) == (DONE, first.said, REFUSED)
    assert (paused.state, paused.reason) == (State.PAUSED, "paused by owner")
    assert silent == before
    assert (resumed.state, of(replay).state) == (DONE, State.WORKING)
    after = decisions(replay.desk.reader, id_, "AAPL", 50)
    assert sum(one.done is Done.MISSED for one in after) >= 4


async def test_a_strategy_that_failed_is_resumed_once_it_is_mended(replay: Replay, monkeypatch: Any) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(find("sma_crossover"), "stream", _fails)
        id_ = await replay.adopt(*SMA, RULES)
        await replay.bars_close(2)
    assert of(replay).state is State.PAUSED

    await replay.desk.ask(Kind.RESUME_STRATEGY, id=id_)
    await replay.bars_close(2)

    assert of(replay).state is State.WORKING
    assert decisions(replay.desk.reader, id_, "AAPL")[0].done is not Done.MISSED


def _fails(strategy: Any) -> Any:
    raise ValueError("there is a comma too many")


async def test_refusals_say_why(replay: Replay) -> None:
    id_ = await replay.adopt(*SMA, RULES)

    said = {
        kind: (await replay.desk.ask(kind, turns=200, **payload)).said
        for kind, payload in {
            Kind.PROMOTE: {"id": id_},
            Kind.DEMOTE: {"id": "s-none"},
            Kind.PAUSE_STRATEGY: {},
            Kind.RESUME_STRATEGY: {"id": id_},
        }.items()
    }

    assert said[Kind.PROMOTE] == f"{of(replay).label} is on the highest rung of this desk already: paper."
    assert said[Kind.DEMOTE] == f"No strategy at work is called 's-none': there are {id_}."
    assert "id" in said[Kind.PAUSE_STRATEGY]
    assert said[Kind.RESUME_STRATEGY].endswith("is not paused.")
    await replay.desk.ask(Kind.DEMOTE, id=id_)
    assert (await replay.desk.ask(Kind.DEMOTE, id=id_)).said.endswith(
        "is in research already, where nothing is ordered."
    )


@pytest.mark.parametrize("visit", [1, 2, 3])
@pytest.mark.parametrize("point", ["before_commit", "turn_begins"])
async def test_no_death_leaves_half_a_step(tmp_path: Path, point: str, visit: int) -> None:
    """Whatever dies: the step is there with its answer, or neither is, and the next engine does it."""
    replay = Replay(tmp_path, {"AAPL": made_bars(11, days=2)})
    await replay.begin(replay.frames["AAPL"].index[90].to_pydatetime())
    id_ = await replay.adopt(*SMA, RULES)
    await replay.desk.ask(Kind.DEMOTE, id=id_)
    key = replay.desk.append(Kind.PROMOTE, {"id": id_})
    crash.install(at(point, visit, _die))
    for _ in range(60):
        replay.clock.advance(seconds=0.2)
        try:
            if replay.desk.engine is None:
                await replay.desk.start()
            assert replay.desk.engine is not None
            await replay.desk.engine.turn()
        except Died:
            replay._bury()
            [one] = adoptions(replay.desk.reader)
            taken = stage_of(replay.desk.reader, one, live=False).rung is Rung.PAPER
            assert taken == (replay.desk.inbox.answer(key) is not None)
    crash.install(None)

    answer = replay.desk.inbox.answer(key)
    assert answer is not None
    assert answer.state is DONE
    steps = stage_of(replay.desk.reader, of(replay), live=False).steps
    assert [step.rung for step in steps] == [Rung.RESEARCH, Rung.PAPER]
    assert replay.desk.problems() == []
    await replay.desk.stop()


def _die() -> None:
    raise Died


async def test_the_command_line_says_what_is_missing(replay: Replay) -> None:
    id_ = await replay.adopt(*SMA, RULES)
    told = adoption_line.ladder(replay.desk.place_of, replay.desk.reader, replay.clock, [of(replay)])

    assert told.startswith(f"{id_}  paper since 2025-11-04")
    assert "next      small, where orders leave this machine, which needs:" in told
    assert "[ ] verdict      No finished backtest" in told
    assert "[ ] paper days   0 days on paper" in told
    assert adoption_line.ladder(replay.desk.place_of, replay.desk.reader, replay.clock, []).startswith("no strategy")


async def test_a_limit_makes_the_backtest_a_condition_of_paper_too(replay: Replay) -> None:
    await replay.desk.ask(Kind.SET_LIMIT, name="backtest_before_paper", value=True)
    id_ = await replay.adopt(*SMA, RULES)

    refused = await replay.desk.ask(Kind.PROMOTE, id=id_, turns=200)

    assert rung_of(replay) is Rung.RESEARCH
    assert refused.state is REFUSED
    assert "Missing for paper: verdict, trades, win rate: No finished backtest" in refused.said


# What a rung allows


def stage(rung: Rung, **began: datetime) -> Stage:
    return Stage(rung, MORNING, "KO" if rung is Rung.SMALL else "", began)


@pytest.mark.parametrize(
    ("rung", "price", "equity", "most"),
    [
        (Rung.SMALL, "60", "100000", "100"),  # the shares
        (Rung.SMALL, "100", "100000", "100"),  # both
        (Rung.SMALL, "100.01", "100000", "99"),  # a tenth of the equity
        (Rung.FULL, "60", "100000", "166"),
        (Rung.FULL, "60", None, "0"),  # nobody knows the equity: nothing is opened
        (Rung.PAPER, "60", None, None),
    ],
)
def test_a_rung_bounds_what_is_held(rung: Rung, price: str, equity: str | None, most: str | None) -> None:
    bounds = bounds_of(stage(rung, KO=MORNING), Limits(), D(equity) if equity else None)

    assert bounds.most("KO", D(price)) == (D(most) if most else None)
    assert bounds.why_not("KO") == ""
    assert bounds.most("AAPL", D(price)) == 0
    assert bounds.why_not("AAPL") != ""


async def test_a_trader_moves_a_strategy_on_paper_and_only_an_owner_towards_real_money(tmp_path: Path) -> None:
    accounts = with_people(tmp_path)
    authority = Authority(accounts)

    assert [authority.owns(name) for name in ("olga", "tim", "vera", "nobody", "engine")] == [True, *[False] * 4]
    assert authority.owns(LOCAL_OWNER)
    assert not Authority().owns("tim")


async def test_with_real_money_a_trader_only_steps_down(tmp_path: Path) -> None:
    accounts = with_people(tmp_path)
    signed = {name: accounts.who(accounts.sign_in(name, PASSWORD)) for name in ("olga", "tim", "vera")}
    actor = {name: one.actor for name, one in signed.items() if one is not None}
    async with trading(tmp_path, authority=Authority(accounts), bars=_no_bars) as desk:
        assert desk.engine is not None
        tools = desk.engine.tools
        tools.place = dataclasses.replace(tools.place, broker="etrade", desk="live")
        wish = {"strategy": SMA[0], "params": SMA[1], "symbols": ["AAPL"], "interval": "5m", "setup": RULES.to_dict()}
        id_ = (await desk.ask(Kind.ADOPT, actor=actor["tim"], **wish)).details["adoption"]

        by_trader = await desk.ask(Kind.PROMOTE, actor=actor["tim"], id=id_, turns=200)
        by_owner = await desk.ask(Kind.PROMOTE, actor=actor["olga"], id=id_, turns=200)
        by_viewer = [await desk.ask(kind, actor=actor["vera"], id=id_) for kind in STEPS]
        [one] = adoptions(desk.reader)
        with tools.write() as write:
            keep_step(write, one, Rung.SMALL, Why.PROMOTED, reason="of the test", actor="olga", symbol="AAPL")
        desk.engine._desk.strategies.changed()
        paused = await desk.ask(Kind.PAUSE_STRATEGY, actor=actor["tim"], id=id_)
        resumed = await desk.ask(Kind.RESUME_STRATEGY, actor=actor["tim"], id=id_)
        by_hers = await desk.ask(Kind.RESUME_STRATEGY, actor=actor["olga"], id=id_)
        down = await desk.ask(Kind.DEMOTE, actor=actor["tim"], id=id_)
        tools.place = desk.place_of

    assert by_trader.said == "tim may not let a strategy trade real money: only an owner may."
    assert by_owner.said.startswith("sma_crossover 3/8 on AAPL 5m stays in research. Missing for small:")
    assert [(one.state, "the role is viewer" in one.said) for one in by_viewer] == [(REFUSED, True)] * 4
    assert (paused.state, resumed.state, by_hers.state, down.state) == (DONE, REFUSED, DONE, DONE)
    assert "only an owner may" in resumed.said


STEPS = (Kind.PROMOTE, Kind.DEMOTE, Kind.PAUSE_STRATEGY, Kind.RESUME_STRATEGY)


async def _no_bars(what: Any, tf: Any, most: int) -> pd.DataFrame:
    return cd.empty()


# The backtest behind it


def study_in(folder: Path, name: str, **changes: Any) -> Study:
    """A finished job with a real study; `changes` are of its first run's verdict, win rate and trades."""
    asked = studies.study()
    run = asked.runs[0]
    rate = Metric("Win rate", changes.get("win_rate", 0.6), changes.get("trades", 40), 0.45, 0.74, "%", "")
    verdict = {**(run.verdict or {}), "verdict": changes.get("verdict", "weak")}
    run = dataclasses.replace(
        run, metrics={**run.metrics, "win_rate": rate}, verdict=verdict if changes.get("judged", True) else None
    )
    found = dataclasses.replace(asked, runs=(run, *asked.runs[1:]), simulated=changes.get("simulated", False))
    jobs = Jobs(f"sqlite:///{folder / 'research.db'}")
    found.save(jobs.folder(name))
    row = {"id": name, "kind": "backtest", "asked": _json(found.asked), "state": changes.get("state", "done")}
    with jobs._database.write() as db:
        db.execute(sa.insert(jobs_module._jobs), [{**row, "asked_at": MORNING.isoformat()}])
    jobs.close()
    return found


def _json(asked: Asked) -> str:
    import json

    return json.dumps(asked.to_dict())


def adopted(**changes: Any) -> Adoption:
    """SMA 5/15 on daily AAPL, as that study has it."""
    body = {"params": {"fast": 5, "slow": 15}, "symbols": ("AAPL",), "interval": "1d", "setup": Setup(cash=5_000.0)}
    body |= changes
    setup = dataclasses.replace(body.pop("setup"), exits_from="signal")
    return Adoption("s-1", "main", "sma_crossover", setup=setup, actor="owner", since=MORNING, **body)


def needs_of(folder: Path, adoption: Adoption, **limits: Any) -> dict[str, bool]:
    from desk.ladder import _of_backtest

    place = places.paper(Settings(data_dir=folder), "yahoo", simulated=False)
    return {need.name: need.done for need in _of_backtest(place, adoption, Limits(**limits))}


ALL = {"verdict": True, "trades": True, "win rate": True}


@pytest.mark.parametrize(
    ("changes", "limits", "met"),
    [
        ({}, {}, ALL),
        ({"verdict": "fail"}, {}, {**ALL, "verdict": False}),
        ({"verdict": "weak"}, {"worth_only": True}, {**ALL, "verdict": False}),
        ({"verdict": "worth paper trading"}, {"worth_only": True}, ALL),
        ({"win_rate": 0.55}, {}, {**ALL, "win rate": False}),
        ({"win_rate": 0.551}, {}, ALL),
        ({"win_rate": 0.551}, {"min_win_rate_pct": 56.0}, {**ALL, "win rate": False}),
        ({"trades": 29}, {}, {**ALL, "trades": False}),
        ({"trades": 30}, {}, ALL),
        ({"judged": False}, {}, dict.fromkeys(ALL, False)),
        ({"simulated": True}, {}, dict.fromkeys(ALL, False)),
        ({"state": "failed"}, {}, dict.fromkeys(ALL, False)),
    ],
)
def test_what_a_backtest_must_show(tmp_path: Path, changes: Any, limits: Any, met: dict[str, bool]) -> None:
    study_in(tmp_path, "one", **changes)

    assert needs_of(tmp_path, adopted(), **limits) == met


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"fast": 5, "slow": 16}},
        {"symbols": ("MSFT",)},
        {"symbols": ("AAPL", "MSFT")},
        {"interval": "1h"},
        {"setup": Setup(short=False)},
        {"setup": Setup(stop=Exit("pct", 1.0))},
    ],
)
def test_a_backtest_of_something_else_counts_for_nothing(tmp_path: Path, changes: Any) -> None:
    study_in(tmp_path, "one")

    assert needs_of(tmp_path, adopted(**changes)) == dict.fromkeys(ALL, False)


def test_the_newest_backtest_counts_and_not_the_best(tmp_path: Path) -> None:
    study_in(tmp_path, "good", win_rate=0.9)
    study_in(tmp_path, "newer", win_rate=0.4)
    url = f"sqlite:///{tmp_path / 'research.db'}"

    assert backtested(url, adopted(), simulated=False).job == "newer"
    (Jobs(url).folder("newer") / "study.json").write_text("{", encoding="utf-8")
    assert backtested(url, adopted(), simulated=False).job == "good"
    (Jobs(url).folder("good") / "study.json").unlink()
    with pytest.raises(Unread, match="run it on the Backtest page"):
        backtested(url, adopted(), simulated=False)


# Its days at work


@pytest.mark.parametrize(
    ("days", "idle", "done", "lost"),
    [(14, (), True, False), (13, (), False, False), (14, (4,), False, False), (14, (), False, True)],
    ids=["two weeks", "a day too few", "a session without a decision", "a night with drift"],
)
async def test_two_weeks_on_paper_are_two_weeks_at_work(
    tmp_path: Path, days: int, idle: tuple[int, ...], done: bool, lost: bool
) -> None:
    async with trading(tmp_path) as desk:
        one = await _worked(desk, days, idle, drifts=lost)
        work = at_work(desk.reader, one, stage_of(desk.reader, one, live=False), {})
        seen = _paper_needs(desk, one)

    assert work.days == days - len(idle)
    assert seen["paper days"].done == (days - len(idle) >= 14)
    assert seen["paper drift"].done != lost
    assert (seen["paper days"].done and seen["paper drift"].done) == done
    assert not seen["paper trades"].done
    assert "0 closed trades on paper" in seen["paper trades"].said


async def _worked(desk: PaperDesk, days: int, idle: tuple[int, ...], *, drifts: bool) -> Adoption:
    """A strategy that decided one bar on each session of so many calendar days, and the night after them."""
    one = dataclasses.replace(adopted(), since=desk.clock.now())
    assert desk.engine is not None
    tools = desk.engine.tools
    with tools.write() as write:
        keep(write, one, State.WORKING, reason="adopted", actor="owner")
    calendar = instrument("AAPL").calendar
    for day in range(days + 1):
        when = desk.clock.now().date()
        if calendar.session_open(when) is not None and day not in idle:
            with tools.write() as write:
                decide(write, BarDecision(one.id, "AAPL", desk.clock.now(), 0.0, Done.HELD, "as before"))
        desk.clock.advance(days=1 if day < days else 0)
    night = Night(date(2026, 12, 4), "", beyond=("It is far behind.",) if drifts else ())
    with tools.write() as write:
        keep_step(write, one, Rung.PAPER, Why.NIGHT, reason=night.words, actor="engine", night=night)
    return one


def _paper_needs(desk: PaperDesk, one: Adoption) -> dict[str, Need]:
    from desk.ladder import _of_paper

    place = dataclasses.replace(desk.place_of, broker="etrade", desk="live")
    return {need.name: need for need in _of_paper(place, desk.clock, one, Limits())}


async def test_paper_over_other_or_simulated_prices_counts_for_nothing(tmp_path: Path) -> None:
    async with trading(tmp_path) as desk:
        one = await _worked(desk, 14, (), drifts=False)
        good, from_ledger = _paper_needs(desk, one), desk.place_of
        desk.place_of = dataclasses.replace(from_ledger, price_source="etrade")
        other = _paper_needs(desk, one)
        desk.place_of = dataclasses.replace(from_ledger, paper_url=f"sqlite:///{tmp_path / 'none.db'}")
        missing = _paper_needs(desk, one)

    assert good["paper days"].done
    assert [need.done for need in other.values()] == [False] * 3
    assert "paper over etrade is needed" in other["paper days"].said
    assert [need.done for need in missing.values()] == [False] * 3
    assert "There is no paper desk over scripted yet" in missing["paper days"].said


@pytest.mark.parametrize(
    ("days", "profit", "drifts", "met"),
    [
        (7, "0.01", False, [True, True, True]),
        (6, "0.01", False, [False, True, True]),
        (7, "0", False, [True, False, True]),
        (7, None, False, [True, False, True]),
        (7, "0.01", True, [True, True, False]),
        (7, "0.01", None, [True, True, False]),
    ],
)
def test_a_profitable_week_without_drift(days: int, profit: str | None, drifts: bool | None, met: list[bool]) -> None:
    night = Night(date(2026, 11, 20), "", beyond=("It is far behind.",) if drifts else ())
    work = Work(MORNING, date(2026, 11, 13), date(2026, 11, 20), days, 0, (), D(profit) if profit else None)
    work = dataclasses.replace(work, nights=() if drifts is None else (night,))

    assert [need.done for need in _of_small(work, stage(Rung.SMALL, KO=MORNING), Limits())] == met


# A desk whose orders leave the machine

WAVE = ("sma_crossover", {"fast": 2, "slow": 5})
HOURLY = Setup(cash=20_000.0, fraction=0.9, fills=FillRules(ignore_volume=True), exits_from="signal", short=False)
FRIDAY = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)


def wave(days: int, seed: int = 3) -> pd.DataFrame:
    """Hours of Coca-Cola up to the evening of Friday 20 November 2026: a wave of 26 hours with a little noise, which
    rises all through that day."""
    what, tf = instrument("KO"), cd.timeframe("1h")
    end = datetime(2026, 11, 20, 22, tzinfo=UTC)
    times = cd.expected(end - timedelta(days=days), end, tf, what)
    at = np.arange(len(times)) - len(times)
    noise = np.random.default_rng(seed).normal(0, 0.02, len(at))
    close = np.round(60 - 3 * np.cos((at + 11) * 2 * np.pi / 26) + noise, 2)
    opened = np.round(np.r_[close[0], close[:-1]], 2)
    high, low = np.maximum(opened, close) + 0.05, np.minimum(opened, close) - 0.05
    columns = {"open": opened, "high": np.round(high, 2), "low": np.round(low, 2), "close": close}
    return cd.frame(times, {**columns, "volume": np.full(len(times), 1e6)})


async def _paper_week(folder: Path, frame: pd.DataFrame, place: Place) -> None:
    """The same strategy on a paper desk over the same prices, for the last sessions before that Friday."""
    before = frame[frame.index < pd.Timestamp("2026-11-20", tz="UTC")]
    replay = Nights(folder, {"KO": before}, interval="1h", strategy=WAVE, setup=HOURLY)
    desk = replay.desk
    desk.place_of = places.paper(Settings(data_dir=folder / "data"), place.price_source, simulated=True)
    desk.inbox, desk.reader = Inbox(desk.place_of.ledger_url, desk.clock), Reader(desk.place_of.ledger_url, desk.clock)
    assert desk.place_of.ledger_url == place.paper_url
    await replay.over(len(before) // DAY - 4)
    await desk.stop()


def _backtest_job(folder: Path, frame: pd.DataFrame, place: Place) -> str:
    """A judged backtest, as the Backtest page has one made; its state."""
    (folder / "data" / "ohlcv").mkdir(parents=True)
    plain = frame.reset_index(names="timestamp")
    plain["timestamp"] = plain["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    plain.to_csv(folder / "data" / "ohlcv" / "KO_1h.csv", index=False)
    span = {"start": f"{frame.index[40]:%Y-%m-%d}", "end": "2026-11-19"}
    setup = dataclasses.replace(HOURLY, cash=100_000.0, exits_from="fill")
    asked = Asked(("KO",), "1h", **span, source="files", strategies=(Chosen(*WAVE),), setup=setup)
    jobs = Jobs(place.research_url, kinds={"backtest": "research.study:work"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Jobs, "_tend", lambda self, db, kind: None)  # no process of its own: it is carried out here
        job = jobs.start("backtest", asked.to_dict())
    claimed = jobs.claim("me", "backtest", 1)
    assert claimed is not None
    pulse = Pulse(jobs, "me")
    carry_out(jobs, claimed, "research.study:work", "me", pulse)
    pulse.stop()
    found = jobs.get(job.id)
    assert found is not None
    jobs.close()
    return f"{found.state} {found.error}".strip()


async def test_a_live_desk_goes_from_research_to_small_and_holds_its_bounds(tmp_path: Path) -> None:
    frame = wave(230)
    async with trading_desk(tmp_path) as desk:
        await _hours(desk, frame)
        await desk.ask(Kind.SET_LIMIT, name="min_paper_days", value=3)
        await desk.ask(Kind.SET_LIMIT, name="min_paper_trades", value=1)
        wish = {"strategy": WAVE[0], "params": WAVE[1], "symbols": ["KO", "NVDA"], "interval": "1h"}
        both = await desk.ask(Kind.ADOPT, **wish, setup=HOURLY.to_dict())
        unnamed = await desk.ask(Kind.PROMOTE, id=both.details["adoption"])
        assert unnamed.said == "Small is one symbol: name it, one of KO, NVDA."
        await desk.ask(Kind.RETIRE, id=both.details["adoption"])
        adopted = await desk.ask(Kind.ADOPT, **{**wish, "symbols": ["KO"]}, setup=HOURLY.to_dict())
        id_ = adopted.details["adoption"]

        assert "is in research from the next closed bar on" in adopted.said
        refused = await _slowly(desk, Kind.PROMOTE, id=id_)
        assert refused.state is REFUSED
        assert "verdict, trades, win rate: No finished backtest with a verdict" in refused.said
        assert "paper days, paper trades, paper drift: There is no paper desk over etrade-simulator yet" in refused.said
        await _until_told(desk, id_, Done.SHADOW)
        assert desk.resting() == []
        assert desk.orders(Purpose.ENTRY, "KO") == []

        await _paper_week(tmp_path, frame, desk.place_of)
        assert await asyncio.to_thread(_backtest_job, tmp_path, frame, desk.place_of) == "done"
        [one] = adoptions(desk.reader)
        told = standing(desk.place_of, desk.reader, desk.clock, one)
        assert told.missing == (), told.missing
        granted = await _slowly(desk, Kind.PROMOTE, id=id_)
        assert granted.said.endswith("is on the rung small now, KO only.")

        await _until_told(desk, id_, Done.ORDERED)
        await desk.tick(8)
        assert desk.held("KO") == 100
        assert "cut to what its rung allows" in next(
            d.said for d in decisions(desk.reader, id_, "KO", 20) if d.done is Done.ORDERED
        )
        night = await _night(desk)
        assert night.explained == {"cut by its rung": 1}
        assert (night.odd, night.odd_fills, night.fills) == (0, 0, 1)
        down = await desk.ask(Kind.DEMOTE, id=id_, reason="enough")
        assert (down.state, desk.held("KO")) == (DONE, 100)
        assert desk.apart() == []
        assert desk.faults_of_ledger() == []


async def _hours(desk: TradingDesk, frame: pd.DataFrame) -> None:
    """The desk's candles are these, its market stands at their closes."""

    async def bars(what: Any, tf: Any, most: int) -> pd.DataFrame:
        closed = cd.ends(cd.nanos(frame), tf, what) <= pd.Timestamp(desk.clock.now()).value
        return frame[closed].iloc[-most:]

    assert desk.engine is not None
    desk.engine.tools.facts.bars = bars


async def _night(desk: TradingDesk) -> Night:
    """What the evening's replay found."""
    assert desk.engine is not None
    nightly = desk.engine._desk.strategies.climbing.nightly
    while desk.clock.now() < datetime(2026, 11, 20, 21, 31, tzinfo=UTC):
        await desk.tick(seconds=1800)
    await nightly.settle()
    await desk.tick(2)
    [one] = adoptions(desk.reader)
    [night] = stage_of(desk.reader, one, live=True).nights
    return night


async def _slowly(desk: TradingDesk, kind: Kind, **payload: Any) -> Answer:
    return await desk.ask_slowly(kind, **payload)


async def _until_told(desk: TradingDesk, id_: str, done: Done) -> None:
    """Hour by hour, until it has decided so."""
    for _ in range(6):
        await desk.tick(2, seconds=1800)
        for _ in range(4):
            await desk.tick()
            assert desk.engine is not None
            await desk.engine.looked()
        if any(one.done is done for one in decisions(desk.reader, id_, "KO", 20)):
            return
    raise AssertionError(f"nothing was {done} in six hours")
