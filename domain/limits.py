"""Limits: what the owner allows. Whatever they are set to, the ceilings below hold: they change with a release, never
with a setting.

Percentages are in per cent (`max_position_pct=20.0` is a fifth); money is in the account's currency.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from domain.instruments import instrument
from domain.params import build, check_params, param

CEILINGS: Mapping[str, float] = MappingProxyType(
    {
        "risk_per_trade_pct": 5.0,
        "max_position_pct": 100.0,
        "max_gross_pct": 400.0,
        "max_symbol_pct": 100.0,
        "max_sector_pct": 400.0,
        "max_group_pct": 400.0,
        "correlation_threshold": 1.0,
        "max_open_positions": 200,
        "max_orders_per_minute": 60,
        "max_orders_per_day": 5_000,
        "max_consecutive_refusals": 20,
        "max_daily_loss_pct": 20.0,
        "max_drawdown_pct": 50.0,
        "max_quantity": 1_000_000,
        "max_notional": 5_000_000.0,
        "max_adv_pct": 25.0,
        "max_collar_pct": 25.0,
        "max_spread_bps": 1_000.0,
        "max_quote_age_s": 300.0,
        # E*TRADE turns a signature away that is five minutes off: half of that leaves room for the journey.
        "max_clock_skew_s": 150.0,
        "duplicate_window_s": 3_600.0,
    }
)


def _limit(name: str, default: float, low: float, help: str) -> Any:
    return param(default, low=low, high=CEILINGS[name], help=help)


@dataclass(frozen=True, slots=True)
class Limits:
    """Every setting of the gates, each within its range and under its ceiling, or a ValueError that says which is not.

    `symbols` empty allows every symbol. `max_position_pct` is the most one order (and one sized position) may be of the
    equity, `max_symbol_pct` the most that all of a symbol may come to.
    """

    risk_per_trade_pct: float = _limit(
        "risk_per_trade_pct", 2.0, 0.01, "Most of the equity an entry may lose at its stop, in %"
    )
    max_position_pct: float = _limit("max_position_pct", 20.0, 0.1, "Most of the equity one order may be worth, in %")
    max_gross_pct: float = _limit(
        "max_gross_pct", 100.0, 1.0, "Most that all positions and resting entries may be worth, in % of equity"
    )
    max_symbol_pct: float = _limit("max_symbol_pct", 25.0, 0.1, "Most that one symbol may be worth, in % of equity")
    max_sector_pct: float = _limit("max_sector_pct", 50.0, 0.1, "Most that one sector may be worth, in % of equity")
    max_group_pct: float = _limit(
        "max_group_pct", 60.0, 0.1, "Most that symbols which move together may be worth, in % of equity"
    )
    correlation_threshold: float = _limit(
        "correlation_threshold", 0.8, 0.1, "Symbols move together from this correlation on, of either sign"
    )
    max_open_positions: int = _limit("max_open_positions", 10, 1, "Most symbols held or about to be held at once")
    max_orders_per_minute: int = _limit("max_orders_per_minute", 10, 1, "Most orders sent within sixty seconds")
    max_orders_per_day: int = _limit("max_orders_per_day", 200, 1, "Most orders sent in one exchange day")
    max_consecutive_refusals: int = _limit(
        "max_consecutive_refusals", 3, 1, "Refusals in a row at the broker after which entries stop"
    )
    max_daily_loss_pct: float = _limit(
        "max_daily_loss_pct", 3.0, 0.1, "Loss since the day began, open positions included, that stops entries, in %"
    )
    max_drawdown_pct: float = _limit(
        "max_drawdown_pct", 15.0, 0.5, "Fall from the highest equity that stops entries, in %"
    )
    max_quantity: int = _limit("max_quantity", 10_000, 1, "Most shares or coins in one order")
    max_notional: float = _limit("max_notional", 50_000.0, 1.0, "Most money in one order")
    max_adv_pct: float = _limit("max_adv_pct", 1.0, 0.001, "Most of a symbol's average daily volume in one order, in %")
    max_collar_pct: float = _limit(
        "max_collar_pct", 5.0, 0.05, "Furthest a limit may lie from the middle of bid and ask, in %"
    )
    max_spread_bps: float = _limit(
        "max_spread_bps", 50.0, 0.1, "Widest gap between bid and ask an entry may cross, in basis points"
    )
    max_quote_age_s: float = _limit(
        "max_quote_age_s", 15.0, 0.5, "Oldest a quote may be by the venue's time, in seconds"
    )
    max_clock_skew_s: float = _limit(
        "max_clock_skew_s", 2.0, 0.05, "Furthest our clock may be from the broker's, in seconds"
    )
    duplicate_window_s: float = _limit(
        "duplicate_window_s", 30.0, 1.0, "The same symbol and side again within this many seconds is a duplicate"
    )
    shorting: bool = param(False, help="May more be sold than is held (margin accounts only)?")
    extended_hours: bool = param(False, help="May entries trade before the open and after the close?")
    settled_cash_only: bool = param(True, help="May a cash account spend settled money only?")
    symbols: tuple[str, ...] = param((), help="The only symbols that may be entered; none listed allows all")

    def __post_init__(self) -> None:
        if above := [name for name in CEILINGS if _above(getattr(self, name), CEILINGS[name])]:
            raise ValueError(
                "Limits: "
                + "; ".join(
                    f"{name} may not exceed the hard ceiling of {CEILINGS[name]:g}: got {getattr(self, name)!r}"
                    for name in above
                )
            )
        check_params(self)
        if wrong := [s for s in self.symbols if not isinstance(s, str) or instrument(s).symbol != s]:
            raise ValueError(f"Limits: symbols must be written as the venue writes them, such as AAPL: got {wrong}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Limits:
        """What `to_dict` made; a setting not given has its default, one nobody knows is refused with the nearest."""
        if not isinstance(values, Mapping):
            raise ValueError(f"limits must be a mapping of settings: got {values!r}")
        given = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        limits = build(cls, given)
        assert isinstance(limits, cls)
        return limits


def _above(value: object, ceiling: float) -> bool:
    return isinstance(value, int | float) and value > ceiling


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
