"""From a probability to what to hold: in above one line, out below a lower one, so that noise around a line costs
nothing."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def exposure(p_up: npt.ArrayLike, enter: float = 0.55, leave: float = 0.5, short: bool = False) -> Floats:
    """1, 0 or (with `short`) -1, a row a probability, each from the rows up to it.

    Long from `p_up >= enter` until `p_up < leave`; short is the same of `1 - p_up`. NaN, where a model says nothing,
    holds nothing. ValueError unless 0 < leave <= enter < 1 and enter is above a half.

        exposure([0.5, 0.56, 0.52, 0.49])        # 0, 1, 1, 0
    """
    if not (0.5 < enter < 1 and 0 < leave <= enter):
        raise ValueError(f"enter must lie between 0.5 and 1, leave above 0 and not above enter: got {enter}, {leave}")
    return _exposure(np.ascontiguousarray(p_up, dtype=np.float64), enter, leave, short)


@numba.njit(cache=True)
def _exposure(p_up: Floats, enter: float, leave: float, short: bool) -> Floats:
    out = np.zeros(len(p_up))
    held = 0.0
    for t in range(len(p_up)):
        up, down = p_up[t], 1.0 - p_up[t]
        if not ((held > 0.0 and up >= leave) or (held < 0.0 and down >= leave)):
            held = 1.0 if up >= enter else (-1.0 if short and down >= enter else 0.0)
        out[t] = held
    return out
