"""How much, and whether: sizes, stops and targets, and the one review every order must pass.

The rule: only `RiskManager.review` makes an `Approved`, and a broker accepts nothing else. It answers with every
gate's verdict; a `Denied` lists every reason.

    RiskManager().position_size(account_value=50_000, risk_per_trade=0.01, atr=1.2)          # 416
    RiskManager().stop_order("buy", entry=100, atr=1.2)                                      # sell stop at 98.80

Numbers may be int, float or Decimal; a float counts as it is written (0.01 is one hundredth), and all arithmetic is
exact. Whatever is not a finite number above zero is a ValueError that names it.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn, overload

from domain.breaker import Breaker
from domain.context import AccountKind, Case, Context, Sent
from domain.gates import GATES, Gate, ask_all
from domain.limits import CEILINGS, Limits
from domain.orders import OrderRequest, OrderType, Purpose, Side, TimeInForce
from domain.trading_state import KillLevel, TradingState, combine
from domain.verdicts import Outcome, Verdict

__all__ = [
    "CEILINGS",
    "GATES",
    "AccountKind",
    "Approved",
    "Breaker",
    "Context",
    "Denied",
    "ExitOrder",
    "Gate",
    "KillLevel",
    "Limits",
    "Outcome",
    "RiskManager",
    "Sent",
    "Size",
    "TradingState",
    "Verdict",
    "combine",
]

Number = int | float | Decimal

# Nothing priced in money or shares lies outside these; a number that does is a slip.
SMALLEST, LARGEST = 1e-12, 1e15
CENT = Decimal("0.01")
_SEAL = object()


@dataclass(frozen=True, slots=True)
class Approved:
    """A request that passed every gate, with their verdicts and the time. Only `RiskManager.review` can make one; it
    cannot be copied with changes, pickled or subclassed."""

    request: OrderRequest
    verdicts: tuple[Verdict, ...]
    at: datetime
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("only RiskManager.review() makes an Approved: ask it")

    def __init_subclass__(cls, **kwargs: Any) -> NoReturn:
        raise TypeError("an Approved cannot be subclassed")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("an Approved cannot be copied or stored: review the request again")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before it goes out."""
        return tuple(reason for verdict in self.verdicts for reason in verdict.reasons)


@dataclass(frozen=True, slots=True)
class Denied:
    """A request that did not pass. `at` is None where even the time could not be read."""

    request: OrderRequest
    verdicts: tuple[Verdict, ...]
    at: datetime | None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Everything that stands against it, gate by gate."""
        return tuple(reason for verdict in self.verdicts if verdict.refused for reason in verdict.reasons)


@dataclass(frozen=True, slots=True)
class Size:
    """A position's size: `quantity` in whole lots, and `why` it is not more."""

    quantity: Decimal
    why: str


@dataclass(frozen=True, slots=True)
class ExitOrder:
    """A protective stop or a target: what to send once the entry has filled."""

    side: Side
    type: OrderType
    price: Decimal
    purpose: Purpose

    def request(self, account: str, symbol: str, quantity: Decimal, *, reason: str = "") -> OrderRequest:
        """The order for `quantity`, good till cancelled."""
        is_stop = self.type is OrderType.STOP
        return OrderRequest(
            account,
            symbol,
            self.side,
            quantity,
            self.type,
            limit=None if is_stop else self.price,
            stop=self.price if is_stop else None,
            time_in_force=TimeInForce.GTC,
            purpose=self.purpose,
            reason=reason,
        )


@dataclass(frozen=True, slots=True)
class RiskManager:
    """Sizes and reviews under the owner's `limits`."""

    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not isinstance(self.limits, Limits):
            raise ValueError(f"limits must be Limits: got {self.limits!r}")

    # How much

    @overload
    def position_size(
        self,
        account_value: Number,
        risk_pct: Number | None = ...,
        stop_loss_atr: Number | None = ...,
        *,
        risk_per_trade: Number | None = ...,
        atr: Number | None = ...,
        atr_multiple: Number = ...,
        price: Number | None = ...,
        lot: None = ...,
    ) -> int: ...

    @overload
    def position_size(
        self,
        account_value: Number,
        risk_pct: Number | None = ...,
        stop_loss_atr: Number | None = ...,
        *,
        risk_per_trade: Number | None = ...,
        atr: Number | None = ...,
        atr_multiple: Number = ...,
        price: Number | None = ...,
        lot: Number,
    ) -> Decimal: ...

    def position_size(
        self,
        account_value: Number,
        risk_pct: Number | None = None,
        stop_loss_atr: Number | None = None,
        *,
        risk_per_trade: Number | None = None,
        atr: Number | None = None,
        atr_multiple: Number = 1,
        price: Number | None = None,
        lot: Number | None = None,
    ) -> int | Decimal:
        """Shares such that a fall of `atr_multiple` ATR loses `risk_per_trade` (a share of the account: 0.01 is 1 %).

        `risk_pct` and `stop_loss_atr` are other names for `risk_per_trade` and `atr`. Given `price`, the position is
        worth at most `max_position_pct` of the account. Without `lot` an int; with it a Decimal in whole lots.
        0 means that not one share fits: `sized` says why.

            RiskManager().position_size(account_value=50_000, risk_per_trade=0.01, atr=1.2)      # 500 / 1.2 = 416
        """
        found = self.sized(
            account_value,
            risk_per_trade=_one_of("risk_per_trade", risk_per_trade, "risk_pct", risk_pct),
            atr=_one_of("atr", atr, "stop_loss_atr", stop_loss_atr),
            atr_multiple=atr_multiple,
            price=price,
            lot=1 if lot is None else lot,
        )
        return int(found.quantity) if lot is None else found.quantity

    def sized(
        self,
        account_value: Number,
        *,
        risk_per_trade: Number,
        atr: Number,
        atr_multiple: Number = 1,
        price: Number | None = None,
        lot: Number = 1,
    ) -> Size:
        """`position_size` with the reason it is not more."""
        away = _number("atr", atr) * _number("atr_multiple", atr_multiple)
        return self._by_risk(account_value, risk_per_trade, away, price, lot)

    def fixed_fractional(
        self, account_value: Number, risk_per_trade: Number, *, entry: Number, stop: Number, lot: Number = 1
    ) -> Size:
        """The size that loses `risk_per_trade` of the account between `entry` and `stop`, under the position's cap."""
        away = abs(_number("entry", entry) - _number("stop", stop))
        if away == 0:
            raise ValueError(f"the stop must be apart from the entry: got {entry} and {stop}")
        return self._by_risk(account_value, risk_per_trade, away, entry, lot)

    def volatility_size(
        self,
        account_value: Number,
        *,
        target_volatility: Number,
        volatility: Number,
        price: Number,
        lot: Number = 1,
    ) -> Size:
        """The size whose swings are `target_volatility` of the account, where the instrument's are `volatility` (both
        over the same span: 0.10 and 0.40 a year make a quarter of the account), under the position's cap."""
        target, own = _number("target_volatility", target_volatility), _number("volatility", volatility)
        worth = _number("account_value", account_value) * target / own
        return self._capped(account_value, worth / _number("price", price), "volatility", price, lot)

    def _by_risk(self, account_value: Number, risk: Number, away: Fraction, price: Number | None, lot: Number) -> Size:
        share = _number("risk_per_trade", risk)
        if share >= 1:
            raise ValueError(f"risk_per_trade must be a share below 1, 0.01 for one per cent: got {risk!r}")
        return self._capped(account_value, _number("account_value", account_value) * share / away, "risk", price, lot)

    def _capped(self, account_value: Number, wanted: Fraction, by: str, price: Number | None, lot: Number) -> Size:
        step = _number("lot", lot)
        most = _number("max_position_pct", self.limits.max_position_pct) / 100
        cap = None if price is None else _number("account_value", account_value) * most / _number("price", price)
        shares, why = (wanted, by) if cap is None or wanted <= cap else (cap, "max_position_pct")
        lots = math.floor(shares / step)
        said = f"{why} allows {float(shares):.6g}, in lots of {lot} that is {lots * Decimal(str(lot))}"
        return Size(lots * Decimal(str(lot)), said)

    # Where out

    def stop_order(
        self, side: Side | str, entry: Number, atr: Number, multiple: Number = 1, *, tick: Number = CENT
    ) -> ExitOrder:
        """The protective stop of a position entered by `side` at `entry`: `multiple` ATR away, rounded to the tick
        towards the entry so that it never loses more. A stop at or below zero, or at the entry, is refused."""
        bought = _side(side)
        price = _exit_price("stop", entry, -bought.sign, atr, multiple, tick)
        return ExitOrder(bought.opposite, OrderType.STOP, price, Purpose.STOP)

    def target_order(
        self, side: Side | str, entry: Number, atr: Number, multiple: Number = 2, *, tick: Number = CENT
    ) -> ExitOrder:
        """The take-profit twin of `stop_order`: a limit on the other side, rounded towards the entry too."""
        bought = _side(side)
        price = _exit_price("target", entry, bought.sign, atr, multiple, tick)
        return ExitOrder(bought.opposite, OrderType.LIMIT, price, Purpose.TARGET)

    # Whether

    def review(self, request: OrderRequest, context: Context) -> Approved | Denied:
        """Every gate's word on `request`; it never raises. Warnings approve, one refusal denies."""
        verdicts = ask_all(Case(request, context, self.limits))
        at = getattr(context, "now", None)
        at = at if isinstance(at, datetime) else None
        if at is None or len(verdicts) != len(GATES) or any(verdict.refused for verdict in verdicts):
            return Denied(request, verdicts, at)
        return Approved(request, verdicts, at, _SEAL)

    def closable(self, request: OrderRequest, context: Context) -> Decimal:
        """How much `request` may sell (or buy back) without turning the position: what is held, less what rests to do
        the same. ValueError where the context cannot be read."""
        return Case(request, context, self.limits).closable


def _number(name: str, value: object) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        raise ValueError(f"{name} must be a number above zero: got {value!r}")
    if not math.isfinite(size := _float(value)):
        raise ValueError(f"{name} must be a finite number above zero: got {value!r}")
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"{name} must be above zero, from {SMALLEST:g} to {LARGEST:g}: got {value!r}")
    return Fraction(str(value))


def _float(value: numbers.Real | Decimal) -> float:
    try:
        return float(value)
    except (ValueError, OverflowError):  # a signalling NaN, an int of 400 digits
        return math.nan


def _one_of(name: str, value: Number | None, alias: str, other: Number | None) -> Number:
    """The input under whichever of its two names it came."""
    given = [(called, found) for called, found in ((name, value), (alias, other)) if found is not None]
    if not given:
        raise ValueError(f"{name} (or {alias}, its other name) must be given")
    if len({_number(called, found) for called, found in given}) > 1:
        raise ValueError(f"{name} and {alias} are two names for one input: got {value!r} and {other!r}")
    return given[0][1]


def _side(side: Side | str) -> Side:
    try:
        return Side(side.lower())
    except (ValueError, AttributeError):
        raise ValueError(f"side must be buy or sell, as the position was entered: got {side!r}") from None


def _exit_price(what: str, entry: Number, sign: int, atr: Number, multiple: Number, tick: Number) -> Decimal:
    start, step = _number("entry", entry), _number("tick", tick)
    exact = start + sign * _number("atr", atr) * _number("multiple", multiple)
    ticks = math.ceil(exact / step) if sign < 0 else math.floor(exact / step)
    if exact <= 0 or ticks <= 0:
        raise ValueError(
            f"the {what} would lie at {float(exact):g}, it must be above zero: use a smaller multiple or ATR"
        )
    if (ticks * step - start) * sign <= 0:
        raise ValueError(f"the {what} would lie less than a tick of {tick} from {entry}: use a larger multiple")
    return ticks * Decimal(str(tick))
