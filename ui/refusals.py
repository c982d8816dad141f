"""What the gates refused, counted by limit: which limit stood in the way, and what another value would have let pass.

A reason mostly names its limit; where it does not, it is counted under its gate and no limit is blamed. Only refusals
can be judged again: a reason carries the figure it was refused for, an order that passed keeps none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from desk.records import Decision
from domain.gates import GATES
from domain.limits import Limits
from domain.params import params_of
from ui import verdicts

# What a gate says of a limit without naming it.
_SAYS = {
    "s old by the venue's time": "max_quote_age_s",
    "The spread is": "max_spread_bps",
    "Our clock is": "max_clock_skew_s",
    "of a day's volume": "max_adv_pct",
    "The limit ": "max_collar_pct",
    "orders in a row": "max_consecutive_refusals",
    "was ordered less than": "duplicate_window_s",
    "would be sold short": "shorting",
    "settled and free are": "settled_cash_only",
    "is not on the list of symbols": "symbols",
}
_BOUND = re.compile(r"at most|stop at")
_FIGURE, _PERCENT = re.compile(r"-?\d+(?:\.\d+)?"), re.compile(r"(-?\d+(?:\.\d+)?) %")
_STRICT = frozenset({"max_daily_loss_pct", "max_drawdown_pct", "max_consecutive_refusals"})
# At 0, or where nothing is written, they never speak.
_OFF_AT_NONE = frozenset({name for name, p in params_of(Limits).items() if p.kind is str or p.low == 0})
_ONE_MORE = frozenset({"max_orders_per_minute", "max_orders_per_day"})


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence that stood against an order: its gate, and the limit behind it, '' where the text names none."""

    gate: str
    limit: str
    said: str
    at: datetime | None

    def allowed_by(self, value: Any) -> bool | None:
        """Whether this would not have been said with the limit at `value`; None where the text has no figure."""
        if self.limit in _OFF_AT_NONE and not value:
            return True
        before = _BOUND.split(self.said)[0] if _BOUND.search(self.said) else ""
        figures = _PERCENT.findall(before) or _FIGURE.findall(before)
        if not self.limit or not figures or isinstance(value, bool) or not isinstance(value, int | float):
            return None
        measured, most = abs(Decimal(figures[-1])), Decimal(str(value))
        if self.limit in _ONE_MORE:
            measured += 1
        return measured < most if self.limit in _STRICT else measured <= most


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something refused, and the newest sentence."""

    count: int = 0
    last: str = ""


@dataclass(frozen=True, slots=True)
class Week:
    """The refused orders of a span, newest first, each with every reason."""

    refused: tuple[tuple[Reason, ...], ...] = ()
    asked: int = 0
    by_limit: Mapping[str, Tally] = field(default_factory=dict)
    by_gate: Mapping[str, Tally] = field(default_factory=dict)

    def would_pass(self, values: Mapping[str, Any]) -> int:
        """How many of them every reason of which would be gone under these values."""
        return sum(all(r.limit in values and r.allowed_by(values[r.limit]) for r in each) for each in self.refused)


def week(decisions: Iterable[Decision], since: datetime) -> Week:
    """The decisions from `since` on, newest first as the reader gives them; a wish that was previewed and then placed
    is one."""
    newest: dict[str, Decision] = {}
    for decision in decisions:
        if decision.at is not None and decision.at >= since:
            newest.setdefault(decision.command_key or decision.order_id or decision.at.isoformat(), decision)
    refused = tuple(found for decision in newest.values() if (found := reasons(decision)))
    each = [reason for order in refused for reason in order]
    return Week(
        refused,
        len(newest),
        _tally(each, lambda reason: reason.limit),
        _tally([reason for reason in each if not reason.limit], lambda reason: reason.gate),
    )


def reasons(decision: Decision) -> tuple[Reason, ...]:
    """Everything that stood against it."""
    found = []
    for verdict in verdicts.refused(decision.verdicts):
        for said in verdict.get("reasons") or [verdict["said"]]:
            found.append(Reason(verdict["gate"], limit_of(verdict["gate"], said), said, decision.at))
    return tuple(found)


def limit_of(gate: str, said: str) -> str:
    """The limit a reason is about; '' where the text does not tell."""
    read = next((each.limits for each in GATES if each.name == gate), ())
    named = [name for name in read if re.search(rf"\b{name}\b", said)]
    if named:
        return named[0]
    return next((name for words, name in _SAYS.items() if words in said and name in read), "")


def _tally(each: Iterable[Reason], of: Any) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for reason in each:
        if name := of(reason):
            known = found.get(name)
            found[name] = Tally(known.count + 1, known.last) if known else Tally(1, reason.said)
    return found
