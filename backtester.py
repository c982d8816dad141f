"""What would have happened: a strategy over past candles, with costs, under the desk's own fill rules.

    result = Backtest(candles, SmaCrossover(fast=10, slow=30)).run()
    result.metrics["sharpe"], result.trades, result.equity

    python backtester.py --symbol AAPL --start 2021-01-01 --end 2025-04-28 --strategy rule

The rule: what a closed bar decides trades at the next open or later, never before. A strategy of one's own needs no
file: subclass `Backtest` and override `target`, or `on_bar` where it must look at its own position.

    class AboveAverage(Backtest):
        def target(self, candles):
            return (candles["close"] > sma(candles, 50)).astype(float)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from backtest import plain
from backtest.book import Floats
from backtest.inputs import gather, named
from backtest.plain import Desk, Seen
from backtest.result import Result, params_of
from backtest.run import walk
from backtest.setup import Exit, Setup
from domain.candles import Timeframe, timeframe
from domain.instruments import Instrument
from strategies.base import Strategy, Wanted, asked, checked

__all__ = ["Backtest", "Desk", "Exit", "Result", "Seen", "Setup", "main"]

DAY_NS = 86_400_000_000_000


class Backtest:
    """One run over a candle frame, or over frames by symbol that share one cash.

    `instrument` says what the candles are of (frames by symbol: a mapping; not needed for symbols the desk knows).
    Candles without one trade at every bar, in cents and whole pieces, with the fees of US shares. Bars before `start`
    only warm the strategy up; `end` is not part of the run. `timeframe` is told from the bars where it is not given.
    """

    def __init__(
        self,
        candles: pd.DataFrame | Mapping[str, pd.DataFrame],
        strategy: Strategy | None = None,
        setup: Setup | None = None,
        *,
        instrument: Instrument | Mapping[str, Instrument] | None = None,
        timeframe: Timeframe | str | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
    ) -> None:
        self.candles, self.strategy, self.setup = candles, strategy, setup or Setup()
        self.instrument, self.timeframe = instrument, timeframe
        self.start, self.end = _moment(start), _moment(end)
        self.symbol = ""
        self._free = type(self).on_bar is not Backtest.on_bar
        if self._free and self.setup.filters:
            raise ValueError("filters judge what a strategy wants: with on_bar ask them there, and leave them out here")
        if strategy is None and not self._free and type(self).target is Backtest.target:
            raise ValueError("nothing decides: give a strategy, or subclass Backtest and override target or on_bar")

    def target(self, candles: pd.DataFrame) -> Wanted | pd.Series | Floats:
        """Wanted exposure in [-1, 1], one row a bar, each from the rows up to it. `self.symbol` says of what."""
        assert self.strategy is not None
        return asked(self.strategy, candles)

    def on_bar(self, bar: Seen, desk: Desk) -> None:
        """Called at each close, symbol by symbol, when overridden: look at `desk`, ask with `desk.want(exposure)`."""
        raise NotImplementedError

    def run(self, *, plainly: bool = False) -> Result:
        """The run, compiled; `plainly` the same in plain Python and exact money, which is slow and gives the same."""
        given = named(self.candles, self.instrument)
        inputs = gather(given, self._wishes, self.setup, self.start, self.end)
        if self._free:
            walked = plain.walk(inputs, self.on_bar)
        elif plainly:
            wants = {one.instrument.symbol: one.want for one in inputs.ones}
            walked = plain.walk(inputs, lambda bar, desk: desk.want(float(wants[bar.symbol][bar.row])), careful=True)
        else:
            walked = walk(inputs)
        called = type(self).__name__ if self.strategy is None else type(self.strategy).__name__
        return Result(inputs, walked, called, params_of(self.strategy), self._span(inputs.times))

    def _wishes(self, of: Instrument, candles: pd.DataFrame) -> Wanted | Floats:
        if self._free:
            return np.zeros(len(candles))
        self.symbol = of.symbol
        return checked(self.target(candles), candles, type(self.strategy or self).__name__)

    def _span(self, times: Any) -> int:
        """How long a bar lasts, in nanoseconds."""
        if self.timeframe is not None:
            tf = timeframe(self.timeframe) if isinstance(self.timeframe, str) else self.timeframe
            return tf.nanos
        return int(np.diff(times[:1000]).min()) if len(times) > 1 else DAY_NS


def _moment(given: datetime | str | None) -> datetime | None:
    """A moment; one without a zone is UTC."""
    if given is None:
        return None
    at = pd.Timestamp(given)
    return (at if at.tzinfo else at.tz_localize("UTC")).to_pydatetime()


def main(arguments: list[str] | None = None) -> int:
    """0 when it ran, 2 where something asked for is missing or wrong."""
    import settings as settings_file  # research stands above; only a main may reach for it
    from backtest import command
    from domain.errors import DeskError
    from research._study_command import answer_on

    asked = command.parser().parse_args(arguments)
    telling = command.Telling(sys.stderr, asked.json)
    try:
        changes, files = command.place(asked)
        print(answer_on(asked, settings_file.load(**changes), files, telling))
    except (DeskError, ValueError, OSError) as error:
        telling.end()
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
