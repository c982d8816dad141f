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

from domain import entry_times
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
        # Of these more is stricter, and 0 is off: the ceiling only catches slips.
        "cool_down_min": 1_440,
        "max_consecutive_losses": 100,
        "no_entry_after_open_min": 390,
        "no_entry_before_close_min": 390,
        "no_entry_days_before_earnings": 30,
        "max_quiet_min": 390,
        # Of the ladder: where more is stricter the ceiling only catches slips.
        "min_backtest_trades": 10_000,
        "min_win_rate_pct": 99.0,
        "min_paper_days": 365,
        "min_paper_trades": 10_000,
        "min_small_days": 365,
        "max_small_shares": 1_000,
        "max_live_position_pct": 25.0,
        "max_drift_decisions_pct": 50.0,
        "max_drift_price_bps": 500.0,
        "max_drift_loss_pct": 20.0,
        "drift_nights": 10,
    }
)
# What no gate looks at: how a strategy at work gets on from research over paper to live, and what holds it there.
LADDER = (
    "min_backtest_trades",
    "min_win_rate_pct",
    "min_paper_days",
    "min_paper_trades",
    "min_small_days",
    "max_small_shares",
    "max_live_position_pct",
    "max_drift_decisions_pct",
    "max_drift_price_bps",
    "max_drift_loss_pct",
    "drift_nights",
    "worth_only",
    "backtest_before_paper",
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
    cool_down_min: int = _limit(
        "cool_down_min", 0, 0, "Minutes without entries in a symbol after a round trip in it lost; 0 is off"
    )
    max_consecutive_losses: int = _limit(
        "max_consecutive_losses", 0, 0, "Losing round trips in a row today that stop entries until tomorrow; 0 is off"
    )
    no_entry_after_open_min: int = _limit(
        "no_entry_after_open_min", 0, 0, "Minutes after the open without entries; 0 is off"
    )
    no_entry_before_close_min: int = _limit(
        "no_entry_before_close_min", 0, 0, "Minutes before the close, also an early one, without entries; 0 is off"
    )
    no_entry_days_before_earnings: int = _limit(
        "no_entry_days_before_earnings", 0, 0, "Sessions before a company reports, and its day, no entries; 0 is off"
    )
    max_quiet_min: int = _limit(
        "max_quiet_min", 0, 0, "Minutes without a trade after which entries wait, as in a halt; 0 is off"
    )
    min_backtest_trades: int = _limit(
        "min_backtest_trades", 30, 1, "Closed trades that the backtest behind a strategy must have at least"
    )
    min_win_rate_pct: float = _limit(
        "min_win_rate_pct", 55.0, 1.0, "The win rate of that backtest must lie above this, in %"
    )
    min_paper_days: int = _limit(
        "min_paper_days", 14, 1, "Calendar days at work on paper, over real prices, before a strategy trades live"
    )
    min_paper_trades: int = _limit("min_paper_trades", 10, 1, "Closed trades on paper before a strategy trades live")
    min_small_days: int = _limit(
        "min_small_days", 7, 1, "Calendar days of small live trading, with a profit, before a strategy trades in full"
    )
    max_small_shares: int = _limit(
        "max_small_shares", 100, 1, "Most shares of the one symbol that a strategy holds while it trades small"
    )
    max_live_position_pct: float = _limit(
        "max_live_position_pct", 10.0, 0.1, "Most of the equity a strategy's live position may be worth, in %"
    )
    max_drift_decisions_pct: float = _limit(
        "max_drift_decisions_pct", 5.0, 0.1, "Most of its decisions that may differ from its backtest unexplained, in %"
    )
    max_drift_price_bps: float = _limit(
        "max_drift_price_bps", 20.0, 0.1, "Most by which its fills may be worse than its backtest's, in basis points"
    )
    max_drift_loss_pct: float = _limit(
        "max_drift_loss_pct", 2.0, 0.1, "Most by which it may fall behind its backtest, in % of its money"
    )
    drift_nights: int = _limit(
        "drift_nights", 2, 1, "Nights in a row beyond one of these after which a strategy goes down a rung by itself"
    )
    worth_only: bool = param(False, help="Must its backtest be worth paper trading, where weak would do otherwise?")
    backtest_before_paper: bool = param(False, help="Must a strategy prove its backtest before it trades on paper?")
    shorting: bool = param(False, help="May more be sold than is held (margin accounts only)?")
    extended_hours: bool = param(False, help="May entries trade before the open and after the close?")
    settled_cash_only: bool = param(True, help="May a cash account spend settled money only?")
    symbols: tuple[str, ...] = param((), help="The only symbols that may be entered; none listed allows all")
    entry_windows: str = param("", help="New York times of entries, as 09:45-11:30, 13:00-15:45; none: any time")
    blackouts: str = param(
        "", help="Days and hours without entries, as 2026-12-09 13:30/14:30 FOMC; NVDA 2026-11-25 earnings"
    )

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
        entry_times.windows(self.entry_windows)
        entry_times.blackouts(self.blackouts)

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
