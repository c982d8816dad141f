"""Bars that peers price wrongly, run through the peers: the tables of `docs/peers.md`.

    python -m benchmarks backtests          # makes the peers' virtual environment, where it is not there yet
    benchmarks/.peers/bin/python -m benchmarks.backtest_peer_bars

Ten pieces, no costs, a stop 1 % away from the fill. What a closed bar decides is due at the next open.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Row = tuple[float, float, float, float]
SIZE, STOP, CASH = 10, 0.01, 100_000.0


@dataclass(frozen=True, slots=True)
class Case:
    """Bars (open, high, low, close) and, by the bar whose open it is due at, the side wanted: 1, 0 or -1."""

    name: str
    bars: tuple[Row, ...]
    due: dict[int, int]


CASES = (
    Case(
        "an exit due at the open, and the stop later in that bar",
        ((100, 100, 100, 100), (100, 100.5, 99.5, 100), (101, 101, 98, 98.5), (98.5, 99, 98, 98.5)),
        {1: 1, 2: 0},
    ),
    Case(
        "a reversal due at the open, and the old stop later in that bar",
        ((100, 100, 100, 100), (100, 101, 99.5, 101), (101, 101.5, 98, 98.5), (98, 98.5, 97, 97.5)),
        {1: 1, 2: -1},
    ),
    Case(
        "the stop in the bar of the entry",
        ((100, 100, 100, 100), (100, 100.5, 98, 100.2), (104, 106, 104, 105), (105, 105.5, 104.5, 105)),
        {1: 1},
    ),
)


def by_vectorbt(case: Case) -> list[str]:
    """What vectorbt makes of it, a line a trade."""
    import vectorbt as vbt

    frame = _frame(case)
    long, out, short = ([case.due.get(row) == side for row in range(len(frame))] for side in (1, 0, -1))
    found = vbt.Portfolio.from_signals(
        frame["Close"],
        entries=np.array(long),
        exits=np.array(out),
        short_entries=np.array(short),
        short_exits=np.array(out),
        price=frame["Open"],
        open=frame["Open"],
        high=frame["High"],
        low=frame["Low"],
        sl_stop=STOP,
        stop_entry_price="fillprice",
        upon_opposite_entry="reverse",
        size=SIZE,
        init_cash=CASH,
        freq="1min",
    )
    rows = found.trades.records
    return [
        _line(r.direction == 0, r.entry_idx, r.entry_price, None if r.status == 0 else r.exit_idx, r.exit_price, r.pnl)
        for r in rows.itertuples()
    ]


def by_backtesting(case: Case) -> list[str]:
    """What backtesting.py makes of it, a line a trade. Its stop is counted from the close that decided, which in these
    bars is the price of the fill. It asks from the second bar on, so that one is put in front, and ends in the last one
    what is still on."""
    from backtesting import Backtest, Strategy

    class Told(Strategy):
        def init(self) -> None:
            pass

        def next(self) -> None:
            row = len(self.data) - 1  # of the bar that comes, without the one in front
            if row not in case.due:
                return
            side, price = case.due[row], self.data.Close[-1]
            if side == 0:
                self.position.close()
            else:
                (self.buy if side > 0 else self.sell)(size=SIZE, sl=price * (1 - side * STOP))

    frame = _frame(Case(case.name, (case.bars[0], *case.bars), case.due))
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        found = Backtest(frame, Told, cash=CASH, exclusive_orders=True, finalize_trades=True).run()
    last = len(frame) - 1
    return [
        _line(
            t.Size > 0, t.EntryBar - 1, t.EntryPrice, None if t.ExitBar == last else t.ExitBar - 1, t.ExitPrice, t.PnL
        )
        for t in found._trades.itertuples()
    ]


def _frame(case: Case) -> pd.DataFrame:
    index = pd.date_range("2024-06-03 13:30", periods=len(case.bars), freq="min")
    return pd.DataFrame(case.bars, index, ["Open", "High", "Low", "Close"], dtype=float).assign(Volume=1e6)


def _line(long: Any, entered: int, entry: float, left: int | None, leave: float, profit: float) -> str:
    until = f"still on, valued at {leave:g}" if left is None else f"out in bar {left} at {leave:g}"
    return f"{'long' if long else 'short'} in bar {entered} at {entry:g}, {until}: {profit:+.6g}"


def main() -> None:
    for case in CASES:
        print(f"{case.name}\n  due at the open of: {case.due}")
        for row, bar in enumerate(case.bars):
            print(f"  bar {row}: {bar}")
        for name, ask in (("vectorbt", by_vectorbt), ("backtesting.py", by_backtesting)):
            print(f"  {name}: {'; '.join(ask(case)) or 'no trade'}")


if __name__ == "__main__":
    main()
