"""The detector of trends and ranges: what it reads, what it may know, and how well it does on made markets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import regimes
from domain.candles import empty, frame
from strategies import sma_by_regime
from strategies.base import asked
from strategies.sma_by_regime import SmaByRegime
from strategies.sma_crossover import SmaCrossover
from tests.campaigns import regime as campaign

MINUTE = 60_000_000_000


def of_closes(closes: np.ndarray) -> pd.DataFrame:
    values = {"open": closes, "high": closes * 1.001, "low": closes * 0.999, "close": closes}
    return frame(np.arange(len(closes)) * MINUTE, {**values, "volume": np.ones(len(closes))})


# The measures


def test_the_measures_are_those_of_the_books() -> None:
    """Worked out by pandas from their definitions, on the last of 200 bars."""
    candles = campaign.market(3, "daily", bars=200).candles
    found, last = regimes.measures(candles, 30), np.log(candles)
    moves = last["close"].diff()
    up, down = last["high"].diff(), -last["low"].diff()
    ups = up.where((up > down) & (up > 0), 0.0).rolling(10).sum()
    downs = down.where((down > up) & (down > 0), 0.0).rolling(10).sum()
    joined = last["close"].diff(12).iloc[-19:]

    assert found.efficiency[-1] == pytest.approx(abs(moves.iloc[-30:].sum()) / moves.iloc[-30:].abs().sum())
    assert found.adx[-1] == pytest.approx(((ups - downs).abs() / (ups + downs)).iloc[-10:].mean())
    ratio = (joined**2).mean() / (12 * (moves.iloc[-30:] ** 2).mean())
    assert found.variance_ratio[-1] == pytest.approx(ratio)
    score = (2 * found.efficiency[-1] + found.adx[-1] + ratio / (1 + ratio)) / 4
    assert found.score[-1] == pytest.approx(score)
    assert np.isnan(found.score[:30]).all()
    assert np.isfinite(found.score[30:]).all()


def test_a_straight_line_trends_a_zigzag_ranges_and_what_stands_still_is_not_known() -> None:
    line, zigzag, still = np.linspace(100, 200, 80), 100 + np.tile([1.0, -1.0], 40), np.full(80, 100.0)
    read = [regimes.regimes(of_closes(closes)) for closes in (line, line[::-1].copy(), zigzag, still)]

    assert [one[-1] for one in read] == [regimes.TRENDING, regimes.TRENDING, regimes.RANGING, regimes.UNKNOWN]
    assert all(one.dtype == np.int8 for one in read)
    assert (read[0][:31] == regimes.UNKNOWN).all()
    assert (read[0][31:] == regimes.TRENDING).all()
    assert regimes.regimes(empty()).shape == (0,)


# The reading


def read(score: list[float], dwell: int = 1, length: int = 3) -> list[int]:
    return regimes.read(np.array(score), length=length, enter=0.6, leave=0.4, dwell=dwell).tolist()


def test_a_reading_changes_where_the_score_leaves_the_band_and_not_within_it() -> None:
    assert read([0.5, 0.6, 0.5, 0.41, 0.4, 0.5, 0.59, 0.7]) == [-1, 1, 1, 1, 0, 0, 0, 1]


def test_a_reading_changes_only_after_its_bars_in_a_row() -> None:
    assert read([0.7, 0.7, 0.3, 0.7, 0.3, 0.3, 0.7], dwell=2) == [-1, 1, 1, 1, 1, 0, 0]
    assert read([0.7, np.nan, 0.7, 0.7], dwell=2) == [-1, -1, -1, 1]


def test_a_reading_that_nothing_confirms_is_forgotten() -> None:
    """Three lengths: what a window of four warm-ups cannot know, all of history may not either."""
    assert read([0.7, *[0.5] * 8, 0.5, 0.5, 0.3]) == [*[1] * 9, -1, -1, 0]


def test_a_contradiction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"enter must exceed leave: got 0\.3 and 0\.3"):
        regimes.regimes(of_closes(np.ones(5)), enter=0.3, leave=0.3)
    with pytest.raises(ValueError, match="dwell must be at least 1 bar: got 0"):
        regimes.regimes(of_closes(np.ones(5)), dwell=0)
    with pytest.raises(ValueError, match="length must be at least 10 bars: got 9"):
        regimes.regimes(of_closes(np.ones(5)), length=9)


@given(
    seed=st.integers(0, 30),
    length=st.integers(10, 60),
    dwell=st.integers(1, 10),
    cut=st.integers(0, 900),
    rows=st.lists(st.integers(0, 899), min_size=5, max_size=5),
)
@settings(max_examples=15, deadline=None)
def test_a_row_knows_no_later_row_and_no_more_than_its_reach(
    seed: int, length: int, dwell: int, cut: int, rows: list[int]
) -> None:
    candles = campaign.market(seed, "5m", bars=900).candles
    other = campaign.market(seed + 100, "5m", bars=900).candles
    changed = pd.concat([candles.iloc[:cut], other.iloc[cut:]])
    whole = regimes.regimes(candles, length=length, dwell=dwell)
    reach = regimes.reach(length, dwell)

    assert reach <= 4 * regimes.warmup(length, dwell) + 1
    assert np.array_equal(regimes.regimes(changed, length=length, dwell=dwell)[:cut], whole[:cut])
    for row in rows:
        window = candles.iloc[max(0, row + 1 - reach) : row + 1]
        assert regimes.regimes(window, length=length, dwell=dwell)[-1] == whole[row]


# How well it does


@pytest.mark.parametrize("kind", campaign.KINDS)
def test_it_tells_trends_from_ranges_soon_and_without_wavering(kind: str) -> None:
    assert campaign.complaints(kind, range(2000, 2012)) == []


def test_the_campaign_notices_a_reading_that_is_blind_late_or_restless() -> None:
    def blind(candles: pd.DataFrame) -> np.ndarray:
        return np.ones(len(candles), dtype=np.int8)

    def late(candles: pd.DataFrame) -> np.ndarray:
        read = regimes.regimes(candles)
        return np.concatenate([np.full(10, -1, dtype=np.int8), read[:-10]])

    def restless(candles: pd.DataFrame) -> np.ndarray:
        return regimes.regimes(candles, length=15, dwell=1)

    def said(reading: campaign.Reading) -> str:
        return " ".join(campaign.complaints("daily", range(2000, 2003), reading))

    assert "balanced accuracy 0.500" in said(blind)
    assert "median lag" in said(late)
    assert "is read anew" in said(restless)


def test_what_the_campaign_counts_is_counted_right() -> None:
    tally, truth = campaign.Tally(), np.repeat([1, 0, 1], [150, 50, 50])
    read = np.repeat([1, 0, 1, -1], [155, 50, 25, 20])
    tally.add(campaign.Market(empty(), truth), read)

    assert tally.lags == [5, 5]
    assert tally.accuracy == pytest.approx(((50 + 25) / 100 + 45 / 50) / 2)
    assert tally.flip_rate == 3 / 150
    assert tally.unread == [20 / 150]


def test_the_evidence_says_what_was_measured(tmp_path: Path) -> None:
    campaign.run(tmp_path / "regime.md", markets=1)

    text = (tmp_path / "regime.md").read_text(encoding="utf-8")
    assert "| daily | 0." in text
    assert "| 0.7 | 0." in text
    assert "**Goals missed: " in text


# The strategy that follows it


def test_wide_averages_in_a_trend_tight_ones_in_a_range_and_nothing_while_neither_is_known() -> None:
    one = campaign.market(7, "daily", bars=1500)
    read = regimes.regimes(one.candles)[50:]
    wide, tight = (asked(SmaCrossover(*pair), one.candles).exposure[50:] for pair in ((20, 50), (5, 15)))
    wanted = asked(SmaByRegime(), one.candles)
    got = wanted.exposure[50:]

    assert {0, 1} <= set(read.tolist())
    assert np.array_equal(got[read == 1], wide[read == 1])
    assert np.array_equal(got[read == 0], tight[read == 0])
    assert not got[read == -1].any()
    at = {kind: 50 + int(np.flatnonzero(read == kind)[-1]) for kind in (0, 1)}
    assert "the market trends (score" in wanted.why(at[1])
    assert "SMA 20 at" in wanted.why(at[1])
    assert "the market ranges (score" in wanted.why(at[0])
    assert "SMA 5 at" in wanted.why(at[0])
    assert wanted.why(3) == "whether the market trends cannot be told from 4 bars"


def test_its_settings_are_the_detector_s_and_contradictions_are_refused() -> None:
    mine = (sma_by_regime.LENGTH, sma_by_regime.ENTER, sma_by_regime.LEAVE, sma_by_regime.DWELL)

    assert mine == (regimes.LENGTH, regimes.ENTER, regimes.LEAVE, regimes.DWELL)
    with pytest.raises(ValueError, match="wide_slow must exceed wide_fast: got 20 and 20"):
        SmaByRegime(wide_slow=20)
    with pytest.raises(ValueError, match="tight_slow must exceed tight_fast: got 50 and 15"):
        SmaByRegime(tight_fast=50)
