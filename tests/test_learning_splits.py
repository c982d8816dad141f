"""learning/splits.py: what is learned from was known before anything that is asked about began."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.candles import expected, frame, timeframe
from domain.errors import DataError
from domain.instruments import instrument
from learning.labels import Label
from learning.planted import planted
from learning.splits import PurgedKFold, PurgedWalkForward, chronological, inner, overlap
from learning.windows import Flat, flatten

HOUR = 3_600_000_000_000


@functools.cache
def flat_of(kind: str = "triple_barrier", horizon: int = 12, seq_len: int = 8) -> Flat:
    """Three symbols that begin and end at different moments, one of them with a hole."""
    a, b, c = planted("noise", symbols=3, bars=900, seed=2).frames.items()
    holed = c[1].drop(c[1].index[300:340])
    frames = {a[0]: a[1], b[0]: b[1].iloc[150:700], c[0]: holed}
    return flatten(frames, Label(kind, horizon=horizon), seq_len, "1h")


flats = st.builds(
    flat_of, st.sampled_from(["triple_barrier", "direction", "pattern"]), st.integers(1, 25), st.integers(1, 25)
)


def clear(flat: Flat, earlier: np.ndarray, later: np.ndarray) -> None:
    assert flat.known[earlier].max() < flat.began[later].min()
    moments = np.unique(flat.at)
    between = np.searchsorted(moments, flat.at[later].min()) - np.searchsorted(moments, flat.at[earlier].max())
    assert between >= flat.embargo


@given(flat=flats)
@settings(max_examples=25)
def test_no_answer_of_a_part_was_open_when_the_next_part_s_first_window_began(flat: Flat) -> None:
    split = chronological(flat)
    parts = [split.train, split.val, split.calib, split.test]

    for earlier, later in itertools.pairwise(parts):
        clear(flat, earlier, later)
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything)


@given(flat=flats, folds=st.integers(1, 6), blocks=st.integers(0, 3))
@settings(max_examples=25)
def test_a_walk_forward_learns_from_the_past_and_asks_about_each_window_once(
    flat: Flat, folds: int, blocks: int
) -> None:
    asked = []
    for train, test in PurgedWalkForward(folds, train_blocks=blocks).split(flat):
        clear(flat, train, test)
        asked.append(test)

    first = flat.at[asked[0]].min()
    assert np.array_equal(np.sort(np.concatenate(asked)), np.flatnonzero(flat.at >= first))


@given(flat=flats, folds=st.integers(2, 6))
@settings(max_examples=25)
def test_a_k_fold_purges_on_both_sides_and_asks_about_everything(flat: Flat, folds: int) -> None:
    asked = []
    for train, test in PurgedKFold(folds).split(flat):
        overlapping = (flat.known[train] >= flat.began[test].min()) & (flat.began[train] <= flat.known[test].max())
        assert not overlapping.any()
        assert not np.intersect1d(train, test).size
        asked.append(test)

    assert np.array_equal(np.sort(np.concatenate(asked)), np.arange(len(flat)))


def test_markets_with_other_hours_are_purged_by_their_own_windows() -> None:
    """Twenty days of a stock reach over twenty-eight of a coin, which are more than the embargo counts."""
    coin = planted("noise", symbols=1, bars=12_000).frames["PLANT000USDT"]
    of, to = coin.index[0].to_pydatetime(), coin.index[-1].to_pydatetime()
    opens = {"AAPL": expected(of, to, timeframe("1d"), instrument("AAPL")), "BTCUSDT": coin.index[::24].asi8}
    frames = {
        symbol: coin.iloc[: len(at)].set_axis(frame(at, coin.iloc[: len(at)]).index) for symbol, at in opens.items()
    }
    flat = flatten(frames, Label("direction", horizon=1), 20, "1d")

    assert set(flat.symbol.tolist()) == {0, 1}
    for train, asked in PurgedWalkForward(4).split(flat):
        clear(flat, train, asked)


def test_all_symbols_are_cut_at_the_same_moments() -> None:
    flat = flat_of()
    split = chronological(flat)
    cut = flat.at[split.test].min()

    for at in range(len(flat.symbols)):
        own = flat.at[flat.symbol == at]
        asked = flat.at[split.test[flat.symbol[split.test] == at]]
        assert np.array_equal(asked, own[own >= cut])
    assert split.bounds["test"] == (cut, flat.known[split.test].max())


def test_a_fold_s_past_is_divided_by_the_same_rule() -> None:
    flat = flat_of()
    [*_, (past, asked)] = PurgedWalkForward(3).split(flat)
    train, val, calib = inner(flat, past)

    clear(flat, train, val)
    clear(flat, val, calib)
    clear(flat, calib, asked)
    assert np.isin(np.concatenate([train, val, calib]), past).all()


def test_a_later_train_block_leaves_out_what_is_too_old() -> None:
    flat = flat_of()
    whole = [len(train) for train, _ in PurgedWalkForward(4).split(flat)]
    recent = [len(train) for train, _ in PurgedWalkForward(4, train_blocks=1).split(flat)]

    assert whole == sorted(whole)
    assert whole[0] == recent[0]
    assert recent[-1] < whole[-1] / 2


def test_answers_that_share_bars_are_counted_for_what_they_are() -> None:
    assert overlap(flat_of("direction", 1), np.arange(len(flat_of("direction", 1)))) == pytest.approx(1.0)
    flat = flat_of("direction", 10)
    assert overlap(flat, np.arange(len(flat))) == pytest.approx(10.0, rel=0.03)
    assert overlap(flat, np.arange(0)) == 1.0


def test_what_cannot_be_split_is_refused_in_words() -> None:
    short = flatten(planted("noise", symbols=1, bars=150).frames, Label("direction", horizon=20), 20, "1h")

    with pytest.raises(DataError, match=r"too few windows to split: train .* an embargo of 20 bars"):
        chronological(short)
    with pytest.raises(DataError, match=r"fold 1: .* give longer candles or fewer folds"):
        list(PurgedWalkForward(6).split(short))
    with pytest.raises(ValueError, match=r"embargo must be at least 12 bars \(window 8, answer 12\): got 3"):
        chronological(flat_of(), embargo=3)
    with pytest.raises(ValueError, match="four numbers above 0 that sum to 1"):
        chronological(flat_of(), shares=(0.5, 0.2, 0.2, 0.2))
    with pytest.raises(ValueError, match="n_splits must be at least 2"):
        PurgedKFold(1)
