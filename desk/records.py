"""What a ledger remembers beside orders, fills and signals: small frozen values, as they come out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from domain.commands import Command
from domain.orders import Fill, Purpose, Side, Status


@dataclass(frozen=True, slots=True)
class Decision:
    """Every gate's word on one wish: `verdicts` one entry a gate, `inputs` what they looked at; both JSON values, with
    amounts as text. `order_id` is empty where no order came of it (a preview)."""

    approved: bool
    verdicts: list[dict[str, Any]]
    inputs: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    command_key: str = ""
    order_id: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of an order, written before it leaves. `watermark` is what the broker listed just before."""

    order_id: str
    n: int
    client_order_id: str
    signed: datetime
    preview_id: str = ""
    watermark: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was heard of a sending; `broker_order_id` where the broker gave it a number."""

    client_order_id: str
    said: str
    at: datetime
    broker_order_id: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One move of an order; `before` is empty for its first."""

    order_id: str
    version: int
    before: str
    after: Status
    at: datetime
    reasons: tuple[str, ...] = ()
    broker_id: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class HeardFill:
    """A fill with its place in the ledger: the larger `seq`, the later it was written."""

    seq: int
    fill: Fill


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account as it was opened; `kind` is `cash` or `margin`."""

    name: str
    kind: str
    starting_cash: Decimal
    created: datetime


@dataclass(frozen=True, slots=True)
class EquityPoint:
    """Cash and equity of an account at one moment."""

    account: str
    at: datetime
    cash: Decimal
    equity: Decimal


@dataclass(frozen=True, slots=True)
class LimitChange:
    """Who set a limit to what, and when; `old` is None for the first time."""

    name: str
    old: Any
    new: Any
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Protection:
    """What a position's stop and target shall be; None where there shall be none. `trail` is how far from the price a
    trailing stop follows, in money, and `level` the nearest to the price that it has stood: it counts from `since`, and
    prices were last `seen` then."""

    symbol: str
    stop: Decimal | None = None
    target: Decimal | None = None
    actor: str = ""
    at: datetime | None = None
    trail: Decimal | None = None
    level: Decimal | None = None
    since: datetime | None = None
    seen: datetime | None = None

    @property
    def stops(self) -> bool:
        """Whether a stop of either kind shall rest."""
        return self.stop is not None or self.trail is not None


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A figure of the broker's taken over: shares of a symbol, or cash where `symbol` is ''."""

    id: str
    account: str
    symbol: str = ""
    quantity: Decimal = Decimal(0)
    cash: Decimal = Decimal(0)
    reason: str = ""
    actor: str = "engine"
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Arming:
    """The account that is picked, and whether it may trade; `by` and `at` of the newest word on it."""

    account: str = ""
    armed: bool = False
    reason: str = ""
    by: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SentOrder:
    """A sending as the pace of orders sees it."""

    time: datetime
    symbol: str
    side: Side
    purpose: Purpose
    order_id: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A command nobody has answered, and when it was asked."""

    command: Command
    asked: datetime


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine's last sign of life and what it said it was doing."""

    holder: str
    epoch: int
    started: datetime
    beat: datetime
    state: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease, since when, and until when it counts without a sign of life. `epoch` grows with each."""

    name: str
    epoch: int
    since: datetime
    until: datetime
    locked: bool


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the audit; `hash` covers `previous` and everything else here."""

    seq: int
    at: datetime
    event: str
    actor: str
    details: dict[str, Any]
    epoch: int
    previous: str
    hash: str
