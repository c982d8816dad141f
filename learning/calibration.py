"""Temperature: one number that makes a network's confidence mean what it says.

It is fitted on a slice of its own, later than what the weights were learned from and chosen by. It never changes which
class is the likeliest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
COLDEST, HOTTEST = 0.05, 100.0
STEPS = 60


def temperature(logits: Floats, y: npt.NDArray[np.int64]) -> float:
    """The temperature in [0.05, 100] with the least log-loss; 1.0 where there is nothing to fit it on.

    The log-loss is convex in 1/T, so halving the interval by the sign of its slope finds the one minimum.
    """
    if not len(y):
        return 1.0
    logits = np.asarray(logits, dtype=np.float64)
    true = logits[np.arange(len(y)), y]
    low, high = 1.0 / HOTTEST, 1.0 / COLDEST
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        slope = float(((softmax(logits * middle) * logits).sum(axis=1) - true).mean())
        low, high = (middle, high) if slope < 0.0 else (low, middle)
    return 2.0 / (low + high)


def softmax(logits: Floats) -> Floats:
    """Probabilities, a row each."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else np.exp(logits)
    found: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return found


def log_loss(p: Floats, y: npt.NDArray[np.int64]) -> float:
    """Mean -log of the probability that the true class was given; NaN without rows."""
    if not len(y):
        return float("nan")
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean())
