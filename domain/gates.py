"""The gates every order passes, in order. Each one runs and answers, whatever the others said.

A gate fails closed: an input it cannot read, and any error inside it, refuses through that gate. Checks of entries are
not asked of an order that can only make a position smaller: nothing may keep a loss from being closed but what would
make closing it wrong too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from domain import account_checks as account
from domain import entry_checks as entry
from domain import order_checks as order
from domain.context import Case, Context
from domain.verdicts import Check, Finding, Outcome, Verdict

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Gate:
    """`passes` is what it says when all is well. `checks` are asked of every order, `entry_checks` only of what opens
    or adds. `reads` and `limits` name the inputs and the settings it looks at, for the log and the risk page."""

    name: str
    passes: str
    checks: tuple[Check, ...] = ()
    entry_checks: tuple[Check, ...] = ()
    reads: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    def ask(self, case: Case) -> Verdict:
        """The gate's verdict on the case. It never raises."""
        findings = [found for check in self.checks for found in _run(check, case)]
        excused = bool(self.entry_checks) and _reduces(case)
        if not excused:
            findings += [found for check in self.entry_checks for found in _run(check, case)]
        return self._verdict(findings, excused, _inputs(case, self.reads, self.limits))

    def _verdict(self, findings: list[Finding], excused: bool, inputs: Mapping[str, str]) -> Verdict:
        wrong = [f for f in findings if not f.holds]
        refusals = tuple(f.said for f in wrong if not f.warns)
        reasons = refusals or tuple(f.said for f in wrong)
        outcome = Outcome.REFUSED if refusals else Outcome.WARNING if wrong else Outcome.PASSED
        passes = "It can only make the position smaller; this gate guards entries." if excused else self.passes
        well = " ".join([passes, *(f.said for f in findings if f.holds and f.noted)])
        return Verdict(self.name, outcome, " ".join(reasons) or well, reasons, inputs)


def ask_all(case: Case) -> tuple[Verdict, ...]:
    """The verdict of every gate, in order."""
    return tuple(gate.ask(case) for gate in GATES)


def _run(check: Check, case: Case) -> Iterator[Finding]:
    try:
        yield from check(case)
    except Exception as error:  # noqa: BLE001 - whatever breaks inside a gate is a refusal, never a way through
        said = str(error) or type(error).__name__
        yield Finding(False, said if isinstance(error, ValueError) else f"{check.__name__} failed: {error!r}")


def _reduces(case: Case) -> bool:
    try:
        return case.reduces is True
    except Exception:  # noqa: BLE001 - what cannot be shown to reduce is held to every check
        return False


def _inputs(case: Case, reads: tuple[str, ...], limits: tuple[str, ...]) -> dict[str, str]:
    seen = {name: _shown(case.context, name) for name in reads}
    return {"request": _shown(case, "request"), **seen, **{name: _shown(case.limits, name) for name in limits}}


def _shown(of: object, name: str) -> str:
    try:
        text = repr(getattr(of, name))
    except Exception as error:  # noqa: BLE001 - the log must not fail where the gates did not
        text = f"unreadable: {type(error).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_BOOK = ("positions", "resting", "linked")

GATES: tuple[Gate, ...] = (
    Gate(
        "trading state",
        "Trading is enabled.",
        checks=(order.trading_state,),
        reads=("global_state", "account_state", "instrument_state"),
    ),
    Gate("mode", "The desk is armed.", checks=(order.mode_armed,), reads=("mode_armed",)),
    Gate("actor", "The actor may place it.", checks=(order.actor,), reads=("actor", "actor_allowed", "account")),
    Gate("broker", "The broker is ready.", checks=(order.broker_ready,), reads=("broker_ready",)),
    Gate(
        "session",
        "The market trades.",
        checks=(order.session,),
        reads=("now", "market"),
        limits=("extended_hours",),
    ),
    Gate(
        "hours",
        "Entries may go at this hour.",
        entry_checks=(entry.within_windows, entry.after_the_open, entry.before_the_close),
        reads=("now", "market", "opened"),
        limits=("entry_windows", "no_entry_after_open_min", "no_entry_before_close_min"),
    ),
    Gate(
        "clock",
        "The clocks agree.",
        checks=(order.clock_skew,),
        reads=("now", "clock_skew_s"),
        limits=("max_clock_skew_s",),
    ),
    Gate(
        "quote",
        "The quote is fresh and makes sense.",
        checks=(order.quote_age, order.quote_made_up, order.quote_book),
        entry_checks=(order.quote_day,),
        reads=("now", "quote", "simulated", "accept_simulated", "accept_delayed", "market"),
        limits=("max_quote_age_s", "max_spread_bps"),
    ),
    Gate(
        "events",
        "No event stands against an entry.",
        checks=(entry.halted,),
        entry_checks=(entry.blacked_out, entry.earnings_near, entry.gone_quiet),
        reads=("now", "quote", "market", "opened"),
        limits=("blackouts", "no_entry_days_before_earnings", "max_quiet_min"),
    ),
    Gate(
        "order",
        "The order is well formed.",
        checks=(order.well_formed, order.on_the_grid, order.price_sides, order.only_reduces),
        entry_checks=(order.smallest,),
        reads=("instrument", "quote", *_BOOK),
    ),
    Gate(
        "symbol",
        "The symbol may be traded.",
        checks=(order.symbol_free,),
        entry_checks=(order.symbol_allowed,),
        reads=("frozen", "resting"),
        limits=("symbols",),
    ),
    Gate(
        "size",
        "The size is within the limits.",
        checks=(order.collar,),
        entry_checks=(account.quantity, account.worth, account.risk_at_stop, account.daily_volume),
        reads=("equity", "adv", "quote"),
        limits=(
            "max_quantity",
            "max_notional",
            "max_position_pct",
            "risk_per_trade_pct",
            "max_adv_pct",
            "max_collar_pct",
        ),
    ),
    Gate(
        "exposure",
        "The exposure stays within the limits.",
        entry_checks=(
            account.figures_agree,
            account.exits_fit,
            account.groups_known,
            account.gross,
            account.per_symbol,
            account.per_sector,
            account.correlated,
            account.open_positions,
        ),
        reads=("equity", "cash", "prices", "sectors", "correlations", *_BOOK),
        limits=(
            "max_gross_pct",
            "max_symbol_pct",
            "max_sector_pct",
            "max_group_pct",
            "correlation_threshold",
            "max_open_positions",
        ),
    ),
    Gate(
        "loss",
        "Losses are within the limits.",
        entry_checks=(
            account.day_loss,
            account.drawdown,
            account.breaker,
            entry.cooled_down,
            entry.losses_in_a_row,
        ),
        reads=("equity", "day_start_equity", "peak_equity", "breaker_latched", "now", "day_began", "trips"),
        limits=("max_daily_loss_pct", "max_drawdown_pct", "cool_down_min", "max_consecutive_losses"),
    ),
    Gate(
        "pace",
        "Orders come slowly enough.",
        entry_checks=(account.per_minute, account.per_day, account.refusals, account.duplicates),
        reads=("now", "day_began", "recent", "consecutive_refusals"),
        limits=("max_orders_per_minute", "max_orders_per_day", "max_consecutive_refusals", "duplicate_window_s"),
    ),
    Gate(
        "funding",
        "The money is there.",
        checks=(account.good_faith,),
        entry_checks=(account.buying_power, account.fees, account.settled, account.short_sale),
        reads=("account_kind", "cash", "settled_cash", "buying_power", "fees", "bought_unsettled", *_BOOK),
        limits=("settled_cash_only", "shorting"),
    ),
)

assert {name for gate in GATES for name in gate.reads} == set(Context.__slots__)
