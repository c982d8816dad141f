"""Made markets whose best possible accuracy is known: what a model finds here, and what it does not, is no accident.

    market = planted("xor", q=0.75, symbols=4, bars=3000, seed=1)
    market.bayes                     # 0.75: nobody can do better at the next bar's direction

Each bar opens where the one before closed, so the direction of the next bar (`Label("direction", horizon=1)`) is the
sign that was planted. `noise` plants nothing. `reversal` turns the last sign with probability q: a straight line finds
it. `xor` multiplies the signs of the last bar and of the one two before: no straight line does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import frame, timeframe

KINDS = ("noise", "reversal", "xor")
TIMEFRAME = "1h"
_BEGIN = pd.Timestamp("2020-01-01", tz="UTC").value


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """Candles by symbol (hours of a market that never closes) and the accuracy of who knows the rule."""

    frames: dict[str, pd.DataFrame]
    bayes: float
    timeframe: str = TIMEFRAME


def planted(kind: str, q: float = 0.6, symbols: int = 4, bars: int = 3000, seed: int = 0) -> Planted:
    """`symbols` independent markets of `bars` bars. `q` in [0.5, 1] is the chance that the rule holds."""
    if kind not in KINDS or not 0.5 <= q <= 1.0:
        raise ValueError(f"kind must be one of {', '.join(KINDS)} and q in [0.5, 1]: got {kind!r} and {q}")
    chance = np.random.default_rng([seed, KINDS.index(kind)])
    made = {f"PLANT{n:03d}USDT": _market(kind, q, bars, chance) for n in range(symbols)}
    return Planted(made, 0.5 if kind == "noise" else q)


def _market(kind: str, q: float, bars: int, chance: np.random.Generator) -> pd.DataFrame:
    close = 100.0 * np.exp(np.cumsum(_signs(kind, q, bars, chance) * np.abs(chance.normal(0, 0.01, bars))))
    opened = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(opened, close) * np.exp(np.abs(chance.normal(0, 0.004, bars)))
    low = np.minimum(opened, close) * np.exp(-np.abs(chance.normal(0, 0.004, bars)))
    times = _BEGIN + np.arange(bars) * timeframe(TIMEFRAME).nanos
    prices = {"open": opened, "high": high, "low": low, "close": close}
    return frame(times, {**prices, "volume": chance.lognormal(10, 0.5, bars)})


def _signs(kind: str, q: float, bars: int, chance: np.random.Generator) -> npt.NDArray[np.float64]:
    sign = np.where(chance.random(bars) < 0.5, 1.0, -1.0)
    holds = np.where(chance.random(bars) < q, 1.0, -1.0)
    if kind == "reversal":
        for t in range(1, bars):
            sign[t] = -sign[t - 1] * holds[t]
    elif kind == "xor":
        for t in range(3, bars):
            sign[t] = sign[t - 1] * sign[t - 3] * holds[t]
    return sign
