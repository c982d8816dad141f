"""Eight strategies that look good and are not; each earns in its backtest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from backtester import Backtest, Setup
from domain.params import param
from strategies.base import Strategy, Wanted
from strategies.mean_reversion import MeanReversion
from strategies.sma_crossover import SmaCrossover
from tests.planted import markets
from tests.planted.cases import Case, searched


@dataclass(frozen=True)
class Tomorrow:
    """Holds what the next bar will do: a shift the wrong way round."""

    label: ClassVar[str] = "Tomorrow"
    about: ClassVar[str] = "Follows the sign of a smoothed return that is shifted the wrong way."
    warmup: int = param(6, low=1, high=100)

    def target(self, candles: pd.DataFrame) -> Wanted:
        moves = candles["close"].pct_change().rolling(5).mean().shift(-1)
        return Wanted(np.sign(moves.fillna(0.0).to_numpy()))


def look_ahead() -> Case:
    return Case("look-ahead", "look-ahead", markets.noise(11), Tomorrow())


@dataclass(frozen=True)
class LastMove:
    """Goes with the last bar, or (`against`) against it."""

    label: ClassVar[str] = "Last move"
    about: ClassVar[str] = "Holds the direction of the last bar, or the other one."
    against: bool = param(False)
    warmup: int = param(2, low=1, high=100)

    def target(self, candles: pd.DataFrame) -> Wanted:
        side = np.sign(candles["close"].diff().fillna(0.0).to_numpy())
        return Wanted(-side if self.against else side)


def same_bar() -> Case:
    """Run on candles that open where the last one closed, so that an order fills at the close it was decided on."""
    candles = markets.gapping(12)
    kinder = candles.assign(open=candles["close"].shift(1).fillna(candles["open"]))
    kinder["high"] = kinder[["high", "open"]].max(axis=1)
    kinder["low"] = kinder[["low", "open"]].min(axis=1)
    result = Backtest(kinder, LastMove(), Setup()).run()
    return Case("same-bar fill", "own result", candles, LastMove(), result=result)


def overfit() -> Case:
    """The best of 200 on noise."""
    variants: list[Strategy] = [
        MeanReversion(length=length, entry=entry, oversold=oversold, hold=hold)
        for length in (10, 15, 20, 30, 40)
        for entry in (1.0, 1.5, 2.0, 2.5)
        for oversold in (30.0, 50.0)
        for hold in (3, 5, 10, 20, 40)
    ]
    return searched("overfit", "deflated Sharpe", markets.noise(13), variants)


def cost_fragile() -> Case:
    """In and out every other bar for an edge as thin as the spread."""
    return Case("cost-fragile", "costs", markets.choppy(14), LastMove(against=True))


def survivor_picked() -> Case:
    """The three of sixty random walks on which it did best; a third of the sixty had ended before."""
    setup, strategy = Setup(short=False), SmaCrossover(fast=5, slow=15)
    universe = {
        f"SYM{number}": markets.noise(100 + number, 1500 if number % 3 else 900, drift=0.0, swing=0.015)
        for number in range(60)
    }
    whole = {name: candles for name, candles in universe.items() if len(candles) == 1500}
    ends = {name: Backtest({name: c}, strategy, setup).run().equity.iloc[-1] for name, c in whole.items()}
    picked = {name: universe[name] for name in sorted(ends, key=lambda name: -ends[name])[:3]}
    return Case("survivor-picked", "symbols", picked, strategy, setup, more={"universe": universe})


def too_few_trades() -> Case:
    candles = markets.trending(15, lasting=300, push=0.003)
    return Case("too few trades", "sample size", candles, SmaCrossover(fast=40, slow=120))


@dataclass(frozen=True)
class SinceTheStart:
    """Compares the close with the mean of all of history, and says that 20 bars are enough."""

    label: ClassVar[str] = "Since the start"
    about: ClassVar[str] = "Short above the mean of everything since the first bar, long below it."
    warmup: int = param(20, low=1, high=400)

    def target(self, candles: pd.DataFrame) -> Wanted:
        mean = candles["close"].expanding().mean()
        return Wanted(np.sign(mean - candles["close"]).to_numpy())


def warm_up_dependent() -> Case:
    return Case("warm-up dependent", "warm-up", markets.reverting(16, pull=0.05), SinceTheStart())


def one_lucky_trade() -> Case:
    return Case("one lucky trade", "best trades", markets.jumping(23), SmaCrossover(fast=5, slow=20, short=False))


FAULTY: dict[str, Callable[[], Case]] = {
    "look-ahead": look_ahead,
    "same-bar fill": same_bar,
    "overfit": overfit,
    "cost-fragile": cost_fragile,
    "survivor-picked": survivor_picked,
    "too few trades": too_few_trades,
    "warm-up dependent": warm_up_dependent,
    "one lucky trade": one_lucky_trade,
}
