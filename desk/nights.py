"""What a night found: what a strategy did at work beside what its backtest would have done over the same bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from domain.errors import DeskError
from domain.limits import Limits

MOST_KEPT = 40


@dataclass(frozen=True, slots=True)
class Night:
    """One comparison, kept after the close of the exchange day `day`, of the bars from `first` on.

    `decisions`   bars of a symbol on which either of the two changed its mind; `odd` of them differ for no known reason
    `fills`       orders that filled on both sides; `odd_fills` are on one side only, or differ in quantity, for none
    `price_bps`   by how much worse the desk's fills were, on the average over money; None where none are on both sides
    `behind_pct`  by how much it lags behind its backtest in % of its money, what has a known reason left out
    `explained`   how often each known reason was met: bars missed, refused by a gate, and so on
    `differing`   the first of the differences without one, a sentence each
    `beyond`      which limits it went beyond, a sentence each: empty where it trades as promised
    """

    day: date
    first: str
    decisions: int = 0
    odd: int = 0
    fills: int = 0
    odd_fills: int = 0
    price_bps: float | None = None
    behind_pct: float = 0.0
    explained: Mapping[str, int] = field(default_factory=dict)
    differing: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()

    @property
    def drifts(self) -> bool:
        return bool(self.beyond)

    @property
    def odd_pct(self) -> float:
        """The share of its decisions that differ unexplained, in %."""
        return 100.0 * (self.odd + self.odd_fills) / max(self.decisions + self.fills + self.odd_fills, 1)

    @property
    def words(self) -> str:
        """It in a sentence."""
        if self.beyond:
            return f"Replay of {self.day}: drift. {' '.join(self.beyond)}"
        price = "no fills to compare" if self.price_bps is None else f"fills {self.price_bps:+.1f} bps worse"
        known = "".join(f", {count} {name}" for name, count in self.explained.items())
        return (
            f"Replay of {self.day}: as promised. {self.decisions} decisions, {self.odd} differ; {price}; "
            f"{self.behind_pct:+.2f} % behind{known}."
        )

    def judged(self, limits: Limits) -> tuple[str, ...]:
        """Which limits it goes beyond, a sentence each."""
        said = []
        if self.odd_pct > limits.max_drift_decisions_pct:
            said.append(
                f"{self.odd} decisions and {self.odd_fills} fills of {self.decisions} and {self.fills + self.odd_fills}"
                f" differ from its backtest ({self.odd_pct:.1f} %, at most {limits.max_drift_decisions_pct:g} % may)."
            )
        if self.price_bps is not None and self.price_bps > limits.max_drift_price_bps:
            said.append(
                f"Its fills are {self.price_bps:.1f} bps worse than its backtest's, at most "
                f"{limits.max_drift_price_bps:g} may be."
            )
        if self.behind_pct > limits.max_drift_loss_pct:
            said.append(
                f"It is {self.behind_pct:.2f} % of its money behind its backtest, at most "
                f"{limits.max_drift_loss_pct:g} % may be."
            )
        return tuple(said)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        plain = asdict(self)
        lists = {name: list(plain[name]) for name in ("differing", "beyond")}
        return plain | lists | {"day": self.day.isoformat(), "explained": dict(self.explained)}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Night:
        """What `to_dict` wrote. DeskError where it cannot be read."""
        try:
            lists = {name: tuple(given[name]) for name in ("differing", "beyond")}
            return cls(**{**given, **lists, "day": date.fromisoformat(given["day"])})
        except (TypeError, ValueError, KeyError) as error:
            raise DeskError(f"a night's comparison cannot be read by this version: {error}") from error
