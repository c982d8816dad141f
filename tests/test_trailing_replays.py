"""A strategy at work whose stop trails fills what its backtest promised, bar by bar and to the cent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backtester import Backtest, Exit
from domain.params import build
from strategies.base import find
from tests.campaigns.adopted import regular
from tests.replaying import Replay, made_bars, real_bars
from tests.test_adopting import PATTERNS, SMA, promised, rules, told

ALONE = {"trail": Exit("pct", 0.2)}
BESIDE = {"trail": Exit("atr", 1.2), "stop": Exit("atr", 0.8)}
ALL = {"trail": Exit("pct", 0.45), "stop": Exit("pct", 0.3), "target": Exit("pct", 0.25)}
WITH_TARGET = {"trail": Exit("atr", 1.6), "target": Exit("atr", 0.7)}
REAL = {"trail": Exit("atr", 1.2), "target": Exit("atr", 0.8)}


async def the_same(folder: Path, frames: Any, strategy: Any, exits: dict[str, Exit], deaths: int, seed: int) -> None:
    """Both fill the same, by every kind of exit."""
    first = next(iter(frames.values()))
    start, setup = first.index[56].to_pydatetime(), rules(**exits)
    replay = Replay(folder, frames, deaths=deaths, seed=seed)

    reader = await replay.run(*strategy, setup, start)

    wanted = promised(frames, strategy, setup, start)
    assert told(reader) == wanted
    assert len(wanted) >= 6
    assert len(replay.died) >= deaths // 2
    result = Backtest(frames, build(find(strategy[0]), strategy[1]), setup, start=start).run()
    assert {"trailing stop" if name == "trail" else name for name in exits} <= set(result.fills["purpose"])


@pytest.mark.parametrize(
    ("strategy", "exits", "deaths", "seed"),
    [
        (SMA, ALONE, 0, 13),
        (PATTERNS, BESIDE, 5, 21),
        (SMA, WITH_TARGET, 5, 14),
        (PATTERNS, ALL, 5, 31),
    ],
    ids=["alone", "beside a stop", "with a target", "all three"],
)
async def test_a_trailing_strategy_trades_what_its_backtest_promised(
    tmp_path: Path, strategy: Any, exits: dict[str, Exit], deaths: int, seed: int
) -> None:
    await the_same(tmp_path, {"AAPL": made_bars(seed, days=2).iloc[:76]}, strategy, exits, deaths, seed)


@pytest.mark.parametrize(("strategy", "exits"), [(SMA, ALONE), (PATTERNS, REAL)], ids=["alone", "with a target by ATR"])
async def test_the_same_on_real_bars(tmp_path: Path, shared: Path, strategy: Any, exits: dict[str, Exit]) -> None:
    frames = {"NVDA": regular(real_bars(shared, "NVDA", "2026-01-12", "2026-01-14")).iloc[:76]}
    await the_same(tmp_path, frames, strategy, exits, 4, 3)
