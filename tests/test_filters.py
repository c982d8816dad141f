"""The drawer of filters: what each file in it, present and future, must keep to, and what each of ours does."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import filters
from domain import regimes, registry
from domain.candles import empty, frame
from domain.errors import UnknownName
from domain.params import Param, params_of
from filters import regime as regime_filter
from filters.base import (
    GOOD_FOR,
    REACH,
    START,
    Filter,
    Others,
    State,
    Verdicts,
    all_pass,
    filtered,
    find,
    judged,
    names,
    step,
    unusable,
)
from filters.correlation import SECOND, Correlation, Pair, followed, pairs_of
from filters.regime import Regime
from filters.spread import Spread, spread_bps
from filters.volume import Volume
from strategies.base import Wanted
from tests.campaigns import spread as campaign
from tests.conftest import ROOT

MINUTE = 60_000_000_000
EXAMPLE = "calm"
every = pytest.mark.parametrize("name", [*names(), EXAMPLE])


@pytest.fixture(autouse=True, scope="module")
def _example_in_the_drawer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The documents' own filter lies in the drawer beside ours, and keeps to the same contract."""
    text = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
    [code] = re.findall(rf"`filters/{EXAMPLE}\.py`:\n\n```python\n(.*?)```", text, flags=re.S)
    folder = tmp_path_factory.mktemp("drawer")
    (folder / f"{EXAMPLE}.py").write_text(code, encoding="utf-8")
    filters.__path__.append(str(folder))
    yield
    filters.__path__.remove(str(folder))
    sys.modules.pop(f"filters.{EXAMPLE}", None)


@dataclasses.dataclass(frozen=True)
class World:
    """A follower, what is wanted of it, and its leader."""

    candles: pd.DataFrame
    wanted: Wanted
    others: Others

    def judged(self, which: Filter) -> Verdicts:
        return judged(which, self.candles, self.wanted, self.others, symbol="AMD")

    def rows(self, first: int, end: int) -> World:
        [(leader, wants)] = self.others.values()
        return World(
            self.candles.iloc[first:end],
            Wanted(self.wanted.exposure[first:end]),
            {"NVDA": (leader.iloc[first:end], Wanted(wants.exposure[first:end]))},
        )

    def then(self, other: World, cut: int) -> World:
        """This one up to `cut`, another from there on."""

        def joined(one: pd.DataFrame, two: pd.DataFrame) -> pd.DataFrame:
            values = np.concatenate([one.to_numpy()[:cut], two.to_numpy()[cut:]])
            return pd.DataFrame(values, one.index, one.columns)

        def wants(one: Wanted, two: Wanted) -> Wanted:
            return Wanted(np.concatenate([one.exposure[:cut], two.exposure[cut:]]))

        [(leader, said)], [(later, said_later)] = self.others.values(), other.others.values()
        others = {"NVDA": (joined(leader, later), wants(said, said_later))}
        return World(joined(self.candles, other.candles), wants(self.wanted, other.wanted), others)


def candles_of(returns: np.ndarray, chance: np.random.Generator) -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[100.0], close[:-1]])[: len(close)]
    high = np.maximum(opened, close) * (1 + np.abs(chance.normal(0, 0.002, len(close))))
    low = np.minimum(opened, close) * (1 - np.abs(chance.normal(0, 0.002, len(close))))
    prices = {"open": opened, "high": high, "low": low, "close": close}
    volume = chance.integers(0, 1000, len(close)).astype(float)
    return frame(np.arange(len(close)) * 15 * MINUTE, {**prices, "volume": volume})


@functools.cache
def world(seed: int, rows: int = 420, together: float = 0.8) -> World:
    """Random walks that share `together` of their moves, and wants that change now and then."""
    chance = np.random.default_rng(seed)
    shared, own, led = chance.normal(0, 0.004, (3, rows))
    moves = together * shared + np.sqrt(1 - together**2) * own
    wants = [np.repeat(chance.choice([-1.0, 0.0, 0.5, 1.0], rows // 6 + 1), 6)[:rows] for _ in range(2)]
    leader = candles_of(together * shared + np.sqrt(1 - together**2) * led, chance)
    return World(candles_of(moves, chance), Wanted(wants[0]), {"NVDA": (leader, Wanted(wants[1]))})


def of_closes(closes: list[float]) -> pd.DataFrame:
    price = np.asarray(closes, dtype=float)
    values = {"open": price, "high": price, "low": price, "close": price, "volume": np.ones(len(price))}
    return frame(np.arange(len(price)) * MINUTE, values)


def settings_of(declared: Param) -> st.SearchStrategy[Any]:
    if declared.choices:
        return st.sampled_from(declared.choices)
    if declared.kind is bool:
        return st.booleans()
    if declared.kind is str:
        return st.just(declared.default)
    low, high = float(declared.low or 0), float(declared.high or 1)
    if declared.kind is int:
        return st.integers(int(low), min(int(high), 90))
    return st.floats(low, high)


def drawn(data: st.DataObject, name: str) -> Filter:
    cls = find(name)
    return cls(**{p.name: data.draw(settings_of(p), label=p.name) for p in params_of(cls).values()})


# The contract


@every
def test_it_is_a_frozen_dataclass_that_says_what_it_is(name: str) -> None:
    cls = find(name)
    made = cls()

    assert isinstance(made, Filter)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.anything = 1
    assert made == cls()
    assert hash(made) == hash(cls())
    assert cls.label
    assert re.fullmatch(r"[A-Z].*\.", cls.about)
    assert made.warmup == int(made.warmup) >= 1


@every
def test_every_field_is_declared_with_its_range_and_refused_outside(name: str) -> None:
    cls = find(name)
    declared = params_of(cls)

    assert {field.name for field in dataclasses.fields(cls)} - set(declared) <= {"symbol"}
    for found in declared.values():
        assert found.help, found.name
        if found.kind in (int, float):
            assert found.low is not None, found.name
            assert found.high is not None, found.name
            with pytest.raises(ValueError, match=found.name):
                cls(**{found.name: found.high + 1})


@every
def test_the_registry_finds_it_and_a_slip_of_the_pen_is_offered_it(name: str) -> None:
    assert registry.part("filters", name) is find(name)
    with pytest.raises(UnknownName, match=f"no filter is called '{name[:-1]}'. Did you mean '{name}'"):
        find(name[:-1])


@every
@given(data=st.data(), seed=st.integers(0, 20))
@settings(max_examples=10, deadline=None)
def test_a_row_depends_on_no_later_row(name: str, data: st.DataObject, seed: int) -> None:
    one, which, cut = world(seed), drawn(data, name), data.draw(st.integers(0, 420))
    whole, changed = one.judged(which), one.then(world(seed + 1), cut).judged(which)
    part = one.rows(0, cut).judged(which)

    assert np.array_equal(whole.passes[:cut], changed.passes[:cut])
    assert np.array_equal(whole.passes[:cut], part.passes)
    for row in {0, cut // 2, cut - 1} if cut else set():
        assert whole.why(row) == changed.why(row) == part.why(row)


@every
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_a_window_of_four_warm_ups_says_what_all_of_history_says(name: str, data: st.DataObject) -> None:
    which, one = drawn(data, name), world(99, 2000)
    whole, reach = one.judged(which), REACH * which.warmup + 1

    for row in data.draw(st.lists(st.integers(min(reach, 1990), 1999), min_size=12, max_size=12)):
        window = one.rows(max(0, row + 1 - reach), row + 1).judged(which)
        assert (window.passes[-1], window.why(-1)) == (whole.passes[row], whole.why(row))


@every
@pytest.mark.parametrize("rows", [0, 1, 2, 30])
def test_short_frames_pass_nothing_in_the_warm_up_and_say_why(name: str, rows: int) -> None:
    which = find(name)()
    one = world(1).rows(0, rows)
    candles = one.candles if rows else empty()
    verdicts = judged(which, candles, one.wanted, one.others, symbol="AMD")

    assert verdicts.passes.shape == (rows,)
    assert not verdicts.passes[: which.warmup].any()
    if rows:
        assert verdicts.why(0) == f"needs {which.warmup} bars before this one and there are 0"


@every
def test_a_reason_is_one_line_on_every_row_and_nothing_is_changed(name: str) -> None:
    one = world(3)
    before = one.candles.copy()
    verdicts = one.judged(find(name)())

    assert all(verdicts.why(row) and "\n" not in verdicts.why(row) for row in range(0, 420, 7))
    pd.testing.assert_frame_equal(one.candles, before)


@pytest.mark.parametrize("name", ["calm", "correlation", "regime", "volume"])
def test_each_lets_some_entries_through_and_stops_others(name: str) -> None:
    passes = world(5, 3000).judged(find(name)()).passes

    assert 0.02 < passes.mean() < 0.99


@pytest.mark.parametrize("name", ["correlation", "regime", "spread", "volume"])
def test_bars_that_stand_still_pass_nowhere(name: str) -> None:
    still = of_closes([123.45] * 300)
    ones = Wanted(np.ones(300))
    verdicts = judged(find(name)(), still, ones, {"NVDA": (still, ones)}, symbol="AMD")

    assert not verdicts.passes.any()


def test_the_names_are_known_without_numba() -> None:
    code = (
        "import sys, filters.base as b; assert set(b.names()) >= {'volume', 'spread', 'regime', 'correlation'}; "
        "[b.find(n)() for n in b.names()]; assert not {'torch', 'numba', 'lightgbm', 'sklearn'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert unusable() == {}


# The door


class Says:
    """A filter that says what it is told to."""

    warmup = 1
    label = about = ""

    def __init__(self, passes: Any) -> None:
        self.answer = passes

    def verdicts(self, candles: pd.DataFrame, wanted: Wanted, others: Others | None) -> Verdicts:
        return Verdicts(self.answer, lambda row: f"row {row}\nof it")


def test_the_door_stills_the_warm_up_and_leaves_the_answer_alone() -> None:
    said = np.array([True, True, False])
    verdicts = judged(Says(said), of_closes([1, 2, 3]), Wanted(np.ones(3)))

    assert verdicts.passes.tolist() == [False, True, False]
    assert said.tolist() == [True, True, False]
    assert verdicts.why(0) == "needs 1 bars before this one and there are 0"
    assert verdicts.why(-1) == "row 2 of it"


@pytest.mark.parametrize(
    ("passes", "rule"),
    [
        (np.ones(3), "Says: passes must be true or false: got an array of float64"),
        (np.ones(2, bool), r"Says: passes must have one row a bar: got shape \(2,\) for 3"),
        (np.ones((3, 1), bool), "one row a bar"),
    ],
)
def test_the_door_refuses_by_filter_and_rule(passes: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        judged(Says(passes), of_closes([1, 2, 3]), Wanted(np.ones(3)))


def test_the_door_refuses_wants_of_other_bars() -> None:
    with pytest.raises(ValueError, match="Volume: got 2 rows of wants for 3 bars"):
        judged(Volume(), of_closes([1, 2, 3]), Wanted(np.ones(2)))


# From verdicts to what is held


def held(raw: list[float], passes: list[int], good_for: int = GOOD_FOR) -> list[float]:
    verdicts = Verdicts(np.array(passes, dtype=bool), lambda row: "closed")
    return filtered(Wanted(np.array(raw)), [verdicts], good_for=good_for)[0].exposure.tolist()


def test_an_entry_waits_for_the_filters_and_no_longer_than_it_is_good_for() -> None:
    assert held([0, 1, 1, 1, 1, 1], [1, 0, 0, 1, 0, 0], 2) == [0, 0, 0, 1, 1, 1]
    assert held([0, 1, 1, 1, 1, 1], [1, 0, 0, 1, 1, 1], 1) == [0, 0, 0, 0, 0, 0]
    assert held([0, 1, 1, 1], [1, 1, 0, 0], 0) == [0, 1, 1, 1]
    assert held([0, 1, 1, 1], [1, 0, 1, 1], 0) == [0, 0, 0, 0]


def test_a_refused_signal_stays_refused_until_another_side_is_wanted() -> None:
    assert held([1, 1, 1, 0, 1, 1], [0, 0, 1, 1, 1, 0], 1) == [0, 0, 0, 0, 1, 1]
    assert held([1, 1, 1, -1, -1, 1], [0, 0, 1, 1, 0, 1], 1) == [0, 0, 0, -1, -1, 1]


def test_exits_turns_and_sizes_are_never_held_up() -> None:
    assert held([1, 0, 0], [1, 0, 0]) == [1, 0, 0]
    assert held([1, -1, -1, -1], [1, 0, 0, 1]) == [1, 0, 0, -1]  # the old side ends at once, the new one waits
    assert held([0.5, 1, 0.25, 0.75], [1, 0, 0, 0]) == [0.5, 1, 0.25, 0.75]


raws = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), max_size=40)


def by_runs(raw: list[float], passes: list[bool], good_for: int) -> list[float]:
    """The same rule told of whole runs of one side: from the first bar of its first `good_for + 1` that passes."""
    out, begin = [0.0] * len(raw), 0
    while begin < len(raw):
        side, end = np.sign(raw[begin]), begin
        while end < len(raw) and np.sign(raw[end]) == side:
            end += 1
        entry = next((t for t in range(begin, min(end, begin + good_for + 1)) if passes[t]), end)
        out[entry:end], begin = raw[entry:end], end
    return out


@given(raw=raws, data=st.data(), good_for=st.integers(0, 5))
@settings(deadline=None)
def test_row_by_row_across_restarts_is_the_whole_pass_and_both_are_the_rule(
    raw: list[float], data: st.DataObject, good_for: int
) -> None:
    passes = data.draw(st.lists(st.booleans(), min_size=len(raw), max_size=len(raw)))
    cut = data.draw(st.integers(0, len(raw)))

    def batch(rows: slice, start: State) -> tuple[list[float], State]:
        verdicts = Verdicts(np.array(passes[rows], dtype=bool), lambda row: "")
        found, end = filtered(Wanted(np.array(raw[rows])), [verdicts], good_for=good_for, start=start)
        return found.exposure.tolist(), end

    state, live = START, []
    for wants, open_ in zip(raw, passes, strict=True):
        exposure, state = step(State(*json.loads(json.dumps(state))), wants, open_, good_for=good_for)
        live.append(exposure)
    whole, end = batch(slice(None), START)
    first, between = batch(slice(cut), START)
    rest, last = batch(slice(cut, None), between)

    assert live == whole == first + rest == by_runs(raw, passes, good_for)
    assert state == end == last


def test_what_is_held_says_what_the_filters_made_of_it() -> None:
    wanted = Wanted(np.array([0.0, 1, 1, 1, 0, 1]), reason=lambda row: f"signal {row}")
    open_ = Verdicts(np.ones(6, bool), lambda row: "open")
    closed = Verdicts(np.array([1, 0, 0, 1, 1, 1], bool), lambda row: f"too thin on {row}")
    told = filtered(wanted, [open_, closed], good_for=1)[0]

    assert told.why(0) == "signal 0"
    assert told.why(1) == "signal 1; held back for at most 1 more bars: too thin on 1"
    assert told.why(2) == "signal 2; not held: too thin on 2"
    assert told.why(3) == "signal 3; not held: the filters pass now, but the signal is too old"
    assert told.why(5) == "signal 5"


def test_without_filters_what_is_wanted_is_held_and_the_candles_stay_as_they_are() -> None:
    raw = world(2).wanted.exposure.copy()

    assert np.array_equal(filtered(world(2).wanted, [])[0].exposure, raw)
    assert np.array_equal(world(2).wanted.exposure, raw)


def test_a_row_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"raw_exposure must be a number in \[-1, 1\]: got nan"):
        step(START, float("nan"), True)
    with pytest.raises(ValueError, match="good_for must be a whole number of bars, 0 or more: got -1"):
        step(START, 1.0, True, good_for=-1)
    with pytest.raises(ValueError, match="each filter must have one verdict a bar"):
        all_pass([Verdicts(np.ones(2, bool), str)], 3)


# Volume


def test_volume_must_be_above_the_median_of_the_bars_before_it() -> None:
    candles = of_closes([10.0] * 9)
    candles["volume"] = [100.0, 300, 200, 500, 400, 301, 900_000, 0, 250]
    verdicts = judged(Volume(bars=5), candles, Wanted(np.ones(9)))

    assert verdicts.passes.tolist() == [False] * 5 + [True, True, False, False]
    assert verdicts.why(5) == "volume 301 is above its median of 5 bars, 300"
    assert verdicts.why(7) == "this bar has no volume"
    assert verdicts.why(8) == "volume 250 is not above its median of 5 bars, 400"
    assert "its 90th percentile of" in judged(Volume(bars=5, percentile=90), candles, Wanted(np.ones(9))).why(6)


# Spread


def traded(spread: float, rows: int = 400, seed: int = 1) -> pd.DataFrame:
    """Bars of 60 trades each, on the bid or on the ask of a price that walks."""
    chance = np.random.default_rng(seed)
    price = np.cumsum(chance.normal(0, 0.0012 / np.sqrt(60), (rows, 60)).ravel()).reshape(rows, 60)
    paid = 50 * np.exp(price + spread / 2 * chance.choice([-1.0, 1.0], (rows, 60)))
    columns = {"open": paid[:, 0], "high": paid.max(1), "low": paid.min(1), "close": paid[:, -1]}
    return frame(np.arange(rows) * 5 * MINUTE, {**columns, "volume": np.ones(rows)})


@pytest.mark.parametrize("bps", [5, 10, 20, 50])
def test_a_spread_that_was_traded_is_estimated(bps: int) -> None:
    found, least = spread_bps(traded(bps * 1e-4), 50)

    assert np.isnan(found[:50]).all()
    assert np.nanmedian(found) == pytest.approx(bps, rel=0.15)
    assert (least[50:] <= 1.1 * bps).mean() > 0.9  # a tenth for the estimator's own bias on wide spreads
    assert np.nanmedian(least) > 0.4 * bps


def test_the_estimate_is_the_one_of_the_authors_code() -> None:
    """`edge` of their package bidask 2.1.0 on the same 51 bars."""
    assert spread_bps(traded(0.002, 51), 50)[0][-1] == pytest.approx(20.477793189023608, rel=1e-9)
    assert spread_bps(traded(0.0005, 51, seed=3), 50)[0][-1] == pytest.approx(5.312323360054986, rel=1e-9)


def test_a_spread_that_is_surely_too_wide_stops_an_entry_and_says_the_figures() -> None:
    candles, ones = traded(0.004), Wanted(np.ones(400))
    narrow, wide = (judged(Spread(limit_bps=limit), candles, ones) for limit in (20, 60))

    assert not narrow.passes.any()
    assert wide.passes[50:].all()
    says = r"the spread estimated from 50 bars is (3|4)\d\.\d bps"
    sure = r"3\d\.\d at the least \(19 chances in 20\)"
    assert re.fullmatch(rf"{says}, {sure}: above the limit of 20 bps", narrow.why(-1))
    assert re.fullmatch(rf"{says}, within the limit of 60 bps", wide.why(-1))
    still = judged(Spread(), of_closes([5.0] * 60), Wanted(np.ones(60)))
    assert still.why(-1) == "no spread can be told from the last 50 bars: the prices hardly move"


def test_on_bars_of_five_minutes_it_errs_less_than_the_two_older_estimators() -> None:
    for bps in (1, 3):
        found = campaign.compared(campaign.KINDS[0], bps, 40)
        assert found.errors[2] == min(found.errors)
        assert found.edge == pytest.approx(bps, abs=0.6)
        assert found.false <= campaign.SURELY


def test_wild_bars_without_a_spread_stop_nothing_for_their_noise() -> None:
    """Days that swing by 1.2 % are estimated at tens of bps now and then, and seldom surely."""
    found, least = (
        np.concatenate(each) for each in zip(*(spread_bps(wild(seed), 50) for seed in range(4)), strict=True)
    )

    assert np.nanmean(found > 20) > 0.1
    assert np.nanmean(least > 20) < 0.05


def wild(seed: int) -> pd.DataFrame:
    """Days of 60 trades at one price."""
    chance = np.random.default_rng(seed)
    price = 50 * np.exp(np.cumsum(chance.normal(0, 0.012 / np.sqrt(60), 60 * 1000)).reshape(-1, 60))
    columns = {"open": price[:, 0], "high": price.max(1), "low": price.min(1), "close": price[:, -1]}
    return frame(np.arange(1000) * 1440 * MINUTE, {**columns, "volume": np.ones(1000)})


# Regime


def test_the_regime_filter_reads_as_the_detector_does() -> None:
    one = world(8, 2000)
    read = regimes.regimes(one.candles)
    trend, ranging = (one.judged(Regime(only_in=market)).passes for market in ("trend", "range"))

    mine = (regime_filter.LENGTH, regime_filter.ENTER, regime_filter.LEAVE, regime_filter.DWELL)
    assert mine == (regimes.LENGTH, regimes.ENTER, regimes.LEAVE, regimes.DWELL)
    assert np.array_equal(trend[32:], read[32:] == 1)
    assert np.array_equal(ranging[32:], read[32:] == 0)
    said = one.judged(Regime()).why(500)
    assert re.fullmatch(
        r"the market (trends|ranges): efficiency 0\.\d\d, ADX \d+, variance ratio \d\.\d\d over 30 bars; "
        r"score 0\.\d\d, a trend from 0\.43, a range from 0\.23 down",
        said,
    )


# Correlation


def test_pairs_are_read_as_people_write_them() -> None:
    assert pairs_of(" nvda>AMD, USO > RTX,NVDA>AMD ;\n") == (Pair("NVDA", "AMD"), Pair("USO", "RTX"))
    assert pairs_of("") == ()


@pytest.mark.parametrize("text", ["NVDA AMD", "NVDA>", ">AMD", "A>B>C", "NVDA>AMD, x"])
def test_what_is_no_pair_is_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"pairs: write LEADER>FOLLOWER, .* as NVDA>AMD: got"):
        Correlation(pairs=text)


def test_a_symbol_cannot_follow_itself_and_must_be_one() -> None:
    with pytest.raises(ValueError, match="cannot follow itself: got 'AMD>amd'"):
        Correlation(pairs="AMD>amd")
    with pytest.raises(ValueError, match="a symbol is up to 15 letters"):
        Correlation(pairs="NVDA>A M D")


def pair_of(leader: list[float], follower: list[float], together: float = 0.9) -> World:
    """Wants for the last bars of two markets that move together, or do not."""
    base = world(4, 100, together)
    wants = [np.concatenate([np.zeros(100 - len(last)), last]) for last in (follower, leader)]
    return World(base.candles, Wanted(wants[0]), {"NVDA": (base.others["NVDA"][0], Wanted(wants[1]))})


def test_an_entry_waits_for_its_leader_s_side() -> None:
    one = pair_of(leader=[0, 0, 1, 0, 0, 0, -1], follower=[1, 1, 1, 1, 1, 1, 1])
    verdicts = one.judged(Correlation(within=2))

    assert verdicts.passes[-7:].tolist() == [False, False, True, True, True, False, False]
    assert re.match(
        r"NVDA wants long; their correlation over 60 bars is 0\.\d\d, 0\.5 at least is asked", verdicts.why(-5)
    )
    assert verdicts.why(-4).startswith("NVDA wanted long within 2 bars; ")
    assert verdicts.why(-1).startswith("NVDA has not wanted long within 2 bars; ")
    assert verdicts.why(0).startswith("needs 60 bars")


def test_two_that_do_not_move_together_confirm_nothing() -> None:
    apart = pair_of([1, 1, 1], [1, 1, 1], together=0.0).judged(Correlation())

    assert not apart.passes.any()
    assert "0.5 at least is asked" in apart.why(-1)


def test_a_leader_that_is_not_there_does_not_pass_and_a_symbol_without_one_does() -> None:
    one = pair_of([1, 1], [1, 1])

    def said(symbol: str, others: Others | None) -> tuple[bool, str]:
        verdicts = judged(Correlation(), one.candles, one.wanted, others, symbol=symbol)
        return bool(verdicts.passes[-1]), verdicts.why(-1)

    assert said("AMD", None) == (False, "NVDA leads AMD and is not among the symbols traded")
    assert said("AMD", {"USO": one.others["NVDA"]})[0] is False
    assert said("NVDA", None) == (True, "NVDA follows no other symbol")
    assert said("", one.others) == (False, "it was not said whose bars these are, so its leaders are not known")


def test_either_of_two_leaders_is_enough() -> None:
    one = pair_of([1, 1], [1, 1])
    others = {"NVDA": one.others["NVDA"], "INTC": (one.others["NVDA"][0], Wanted(np.zeros(100)))}
    which = Correlation(pairs="INTC>AMD, NVDA>AMD")

    assert judged(which, one.candles, one.wanted, others, symbol="AMD").passes[-1]
    assert not judged(which, one.candles, one.wanted, {"INTC": others["INTC"]}, symbol="AMD").passes[-1]


def test_the_correlation_is_numpy_s_of_the_moves_of_the_same_bars() -> None:
    one = world(4, 100)
    leader, wants = one.others["NVDA"]
    gone = leader.drop(leader.index[[70, 90]])
    others = {"NVDA": (gone, Wanted(np.delete(wants.exposure, [70, 90])))}
    both = pd.DataFrame({"a": one.candles["close"], "b": gone["close"]}).apply(np.log).diff().iloc[-60:].dropna()
    told = judged(Correlation(), one.candles, Wanted(np.ones(100)), others, symbol="AMD").why(-1)

    assert len(both) == 56  # each missing bar costs two moves
    assert f"60 bars is {np.corrcoef(both['a'], both['b'])[0, 1]:.2f}" in told


def test_coarser_bars_of_a_leader_are_not_read() -> None:
    """An hour that began with this quarter is not over when the quarter is."""
    one = pair_of([1] * 40, [1] * 40)
    leader, wants = one.others["NVDA"]
    hourly = {"NVDA": (leader.iloc[::4], Wanted(wants.exposure[::4]))}
    verdicts = judged(Correlation(), one.candles, one.wanted, hourly, symbol="AMD")

    assert not verdicts.passes.any()
    assert "cannot be told" in verdicts.why(-1)


def test_a_second_trade_takes_the_leader_s_side_where_nothing_is_wanted() -> None:
    one = pair_of(leader=[0, 1, 1, 1, 0.5, 0, -1], follower=[0, 0, 0, 1, 0, 0, 0])
    both = {**one.others, "AMD": (one.candles, one.wanted)}
    extra = followed(both, pairs_of("NVDA>AMD"))

    assert list(extra) == ["AMD"]
    assert extra["AMD"].exposure[-7:].tolist() == [0, 1, 1, 0, 0.5, 0, -1]
    assert re.match(r"follows NVDA, which wants long; their correlation over 60 bars is 0\.\d\d", extra["AMD"].why(-6))
    assert extra["AMD"].why(-4) == "its own strategy wants something"
    assert extra["AMD"].why(-2) == "its leaders want nothing"
    assert Correlation(mode=SECOND).followed(both)["AMD"].exposure.tolist() == extra["AMD"].exposure.tolist()
    assert Correlation().followed(both) == {}


def test_a_second_trade_is_not_entered_where_the_two_do_not_move_together_and_ends_with_its_leader() -> None:
    one = pair_of([1] * 5, [0] * 5, together=0.0)
    apart = followed({**one.others, "AMD": (one.candles, one.wanted)}, pairs_of("NVDA>AMD, USO>AMD, NVDA>RTX"))

    assert list(apart) == ["AMD"]
    assert not apart["AMD"].exposure.any()
    assert "not held: " in apart["AMD"].why(-1)
    assert followed({"AMD": (one.candles, one.wanted)}, pairs_of("NVDA>AMD")) == {}


def test_in_the_mode_of_second_trades_entries_of_its_own_are_let_through() -> None:
    assert pair_of([0], [1]).judged(Correlation(mode=SECOND)).passes[60:].all()
