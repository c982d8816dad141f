"""A replay of hours whose nights are compared with their backtest before time moves on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from backtester import Exit, Setup
from desk.adoptions import Adoption, adoptions
from desk.nights import Night
from desk.rungs import Stage, stage_of
from domain import candles as cd
from domain.instruments import instrument
from domain.matching import FillRules
from tests.replaying import Replay, made_bars

SMA = ("sma_crossover", {"fast": 3, "slow": 8})
SETUP = Setup(
    cash=15_000.0,
    fraction=0.9,
    fills=FillRules(ignore_volume=True),
    exits_from="signal",
    stop=Exit("atr", 1.0),
    target=Exit("atr", 1.5),
)
DAY = 7  # hours that begin in a session


def hours(seed: int, days: int) -> pd.DataFrame:
    """A walk by the hour."""
    return cd.resample(made_bars(seed, days), cd.timeframe("1h"), instrument("AAPL"))


@dataclass
class Nights(Replay):
    """A replay whose nights are compared before time moves on. `before`: what else happens before a bar, by its number;
    `dead`: bars in which no engine runs."""

    before: dict[int, Callable[[Nights], Awaitable[Any]]] = field(default_factory=dict)
    dead: frozenset[int] = frozenset()
    bar: int = 0
    strategy: tuple[str, dict[str, Any]] = SMA
    setup: Setup = SETUP

    async def _turn(self) -> None:
        await super()._turn()
        assert self.desk.engine is not None
        nightly = self.desk.engine._desk.strategies.climbing.nightly
        if nightly._tasks:
            await nightly.settle()
            await super()._turn()

    async def _bar(self, at: pd.Timestamp, bars: Any, following: pd.Timestamp | None, dies: bool) -> None:
        self.bar += 1
        if self.bar in self.before:
            await self.before[self.bar](self)
        if self.bar in self.dead:
            await self.desk.stop()
        else:
            await super()._bar(at, bars, following, dies)

    async def over(self, first: int) -> Nights:
        """Adopt it at the open of session `first`, and go on to the night after the last."""
        stop, self.desk.stop = self.desk.stop, _stay  # type: ignore[method-assign]
        self.before.setdefault(1, _nothing)
        start = next(iter(self.frames.values())).index[first * DAY].to_pydatetime()
        if self.dead:
            self.desk.stop = stop  # type: ignore[method-assign]
        await self.run(*self.strategy, self.setup, start)
        self.desk.stop = stop  # type: ignore[method-assign]
        self.clock.advance(minutes=45)
        await self._turn()
        return self

    @property
    def one(self) -> Adoption:
        return next(each for each in adoptions(self.desk.reader))

    @property
    def stage(self) -> Stage:
        return stage_of(self.desk.reader, self.one, live=False)

    @property
    def nights(self) -> list[Night]:
        return [step.night for step in self.stage.steps if step.night is not None]

    @property
    def notes(self) -> str:
        assert self.desk.engine is not None
        return " ".join(self.desk.engine.tools.problems.values())


async def _stay() -> None:
    """The engine is still needed."""


async def _nothing(replay: Nights) -> None:
    """Nothing happens."""


def replay_of(folder: Path, days: int, **options: Any) -> Nights:
    return Nights(folder, {"AAPL": hours(21, days)}, interval="1h", **options)
