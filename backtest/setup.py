"""Under which rules a backtest trades: costs and fills, sizing, short sales, stops and targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.errors import UnknownName
from domain.fees import Commission
from domain.matching import FillRules
from domain.params import build, check_params, param, params_of
from filters.base import GOOD_FOR, Filter, find

SIZINGS = ("equity", "risk", "shares")
KINDS = ("atr", "pct", "price distance")


@dataclass(frozen=True, slots=True)
class Exit:
    """How far an exit lies from the entry: `amount` ATR of `period` bars, per cent of the price, or money.

    Exit("atr", 2.0)    Exit("pct", 1.0)    Exit("price distance", 0.5)
    """

    kind: str = param("atr", choices=KINDS, help="in what the distance is counted")
    amount: float = param(2.0, low=1e-9, high=1e6, help="how many of it")
    period: int = param(14, low=1, high=1000, help="bars of the ATR")

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def words(self) -> str:
        unit = {"atr": f" ATR({self.period})", "pct": " %", "price distance": " in price"}[self.kind]
        return f"{self.amount:g}{unit}"


@dataclass(frozen=True, slots=True)
class Entry:
    """Enter by a limit order: `away_pct` below the bid (selling short: above the ask), taken back after `wait_s`."""

    away_pct: float = param(0.1, low=0.0, high=5.0, step=0.05, help="how far below the bid one buys, %")
    wait_s: float = param(120.0, low=5.0, high=3600.0, help="how long the order waits, seconds")
    then: str = param(
        "drop", choices=("drop", "chase"), help="what is not filled by then: let go, or bought at the market"
    )

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def words(self) -> str:
        return f"limit {self.away_pct:g} % away for {self.wait_s:g} s, then {self.then}"


@dataclass(frozen=True, slots=True)
class Setup:
    """The rules of a run; the defaults are those of the desk.

    sizing        "equity": exposure x `fraction` of the equity; "risk": what loses `risk_per_trade` of the equity at
                  the stop, capped as `RiskManager.position_size` caps it; "shares": exposure x `shares`
    size_at       an order's size is worked out from the close it was decided on, or ("open") from the open it fills at,
                  which no one can know when the order is sent: only to compare with engines that do so
    leverage      the most that all positions together may be worth, in equities; what goes beyond is cut
    exits_from    stop and target are counted from the first fill, or from the close of the decision ("signal")
    whole_cents   fees are rounded up to the cent, as brokers charge them
    filters       what must let an entry in (`filters/`), on one of the first `good_for` bars after its own
    entry         how the desk enters: at the market, or by a limit order. Bars do not tell whether a limit below the
                  bid was reached in time, so a backtest always enters at the market, and says so
    """

    cash: float = param(100_000.0, low=1.0, high=1e12, help="what the account begins with")
    fills: FillRules = field(default_factory=FillRules)
    sizing: str = param("equity", choices=SIZINGS, help="how an exposure becomes a quantity")
    fraction: float = param(1.0, low=1e-6, high=100.0, step=0.05, help="of the equity that a full exposure is worth")
    risk_per_trade: float = param(0.01, low=1e-6, high=0.5, step=0.005, help="share of the equity lost at the stop")
    max_position_pct: float = param(20.0, low=0.1, high=100.0, help="most of the equity a position sized by risk is, %")
    shares: float = param(100.0, low=1e-9, high=1e9, help="the quantity of a full exposure")
    size_at: str = param("close", choices=("close", "open"), help="the price that sizes an order")
    leverage: float = param(1.0, low=0.01, high=100.0, help="most that all positions are worth, in equities")
    short: bool = param(True, help="may more be sold than is held?")
    stop: Exit | None = None
    target: Exit | None = None
    trail: Exit | None = None
    exits_from: str = param("fill", choices=("fill", "signal"), help="where stop and target are counted from")
    max_bars: int = param(0, low=0, high=10_000_000, help="close after so many bars; 0: hold as long as is wanted")
    whole_cents: bool = param(True, help="fees up to the cent, as brokers charge them")
    filters: tuple[Filter, ...] = ()
    entry: Entry | None = None
    good_for: int = param(GOOD_FOR, low=0, high=1000, help="bars for which a signal waits for the filters")

    def __post_init__(self) -> None:
        check_params(self)
        wrong = [f"{n} must be an Exit or None" for n in ("stop", "target", "trail") if not _exit(getattr(self, n))]
        if not (self.entry is None or isinstance(self.entry, Entry)):
            wrong.append("entry must be an Entry or None")
        if not all(isinstance(one, Filter) for one in self.filters):
            wrong.append("filters must be a tuple of filters: Volume(percentile=60)")
        if not isinstance(self.fills, FillRules):
            wrong.append("fills must be FillRules")
        if self.sizing == "risk" and self.stop is None and self.trail is None:
            wrong.append('sizing by risk needs a stop: stop=Exit("atr", 2.0)')
        if wrong:
            raise ValueError("Setup: " + "; ".join(wrong))

    @property
    def exits(self) -> tuple[Exit | None, Exit | None, Exit | None]:
        return self.stop, self.target, self.trail

    @property
    def periods(self) -> list[int]:
        """Of which ATRs the exits are counted."""
        return sorted({e.period for e in self.exits if e is not None and e.kind == "atr"})

    @property
    def words(self) -> str:
        """The rules in one line, as they stand under a result."""
        f = self.fills
        size = {
            "equity": f"{self.fraction:.4g} x equity",
            "risk": f"{self.risk_per_trade:.2%} at risk, at most {self.max_position_pct:g} % of equity",
            "shares": f"{self.shares:g} shares",
        }[self.sizing]
        said = [f"start {self.cash:,.0f}", f"size {size}", "long and short" if self.short else "long only"]
        said += [f"spread/2 {f.half_spread_bps:g} bps", f"slippage {f.slippage_bps:g} bps"]
        said += [f"commission {_commission(f.commission)}"]
        said += ["no volume cap" if f.ignore_volume else f"at most {f.volume_cap:.3g} of the volume"]
        said += [f"{name} {e.words}" for name, e in zip(("stop", "target", "trail"), self.exits, strict=True) if e]
        said += [f"at most {self.max_bars} bars"] if self.max_bars else []
        if self.filters:
            said += [f"let in by {', '.join(map(filter_words, self.filters))} within {self.good_for} bars"]
        said += [f"enters by {self.entry.words}"] if self.entry else []
        return " · ".join(said)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        exits = {
            name: asdict(e) if e else None for name, e in zip(("stop", "target", "trail"), self.exits, strict=True)
        }
        costs = {f.name: getattr(self.fills, f.name) for f in fields(self.fills)}
        paid = {f.name: _text(getattr(self.fills.commission, f.name)) for f in fields(self.fills.commission)}
        entry = asdict(self.entry) if self.entry else None
        chosen = [{"name": name_of(one), "params": _params(one)} for one in self.filters]
        return plain | exits | {"fills": costs | {"commission": paid}, "filters": chosen, "entry": entry}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Setup:
        """The setup that `to_dict` wrote; what is left out keeps its default. ValueError names each value that cannot
        be, UnknownName a key nobody knows."""
        values = _known(cls, given)
        for name in ("stop", "target", "trail"):
            if values.get(name) is not None:
                values[name] = Exit(**_known(Exit, values[name], name))
        if "fills" in values:
            costs = _known(FillRules, values["fills"], "fills")
            if "commission" in costs:
                paid = _known(Commission, costs["commission"], "commission")
                amounts: dict[str, Any] = {name: _amount(name, value) for name, value in paid.items()}
                costs["commission"] = Commission(**amounts)
            values["fills"] = FillRules(**costs)
        if values.get("entry") is not None:
            values["entry"] = Entry(**_known(Entry, values["entry"], "entry"))
        if "filters" in values:
            values["filters"] = tuple(_filter(one) for one in _listed(values["filters"]))
        return cls(**values)


def filter_words(one: Filter) -> str:
    """A filter with what was chosen of it: `volume 60/50`."""
    numbers = "/".join(f"{v:g}" if isinstance(v, int | float) else str(v) for v in _params(one).values() if v != "")
    return f"{name_of(one)} {numbers}".strip()


def name_of(one: Filter) -> str:
    """What its file is called, by which the drawer finds it again."""
    return type(one).__module__.rpartition(".")[2]


def _params(one: Filter) -> dict[str, Any]:
    return {name: getattr(one, name) for name in params_of(type(one))}


def _listed(given: object) -> list[Any]:
    if not isinstance(given, list | tuple):
        raise ValueError(f'filters must be a list of {{"name": ..., "params": {{...}}}}: got {given!r}')
    return list(given)


def _filter(given: object) -> Filter:
    """A filter that `to_dict` wrote."""
    known = dict(given) if isinstance(given, Mapping) else {}
    if not isinstance(known.get("name"), str) or not isinstance(params := known.get("params", {}), Mapping):
        raise ValueError(f'a filter is written {{"name": ..., "params": {{...}}}}: got {given!r}')
    made: Filter = build(find(known["name"]), dict(params))
    return made


def _known(cls: type[Any], given: object, where: str = "") -> dict[str, Any]:
    """The values by field, none of a name the class has not."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{where or cls.__name__} must be a mapping of its fields: got {given!r}")
    names = [f.name for f in fields(cls)]
    for name in given:
        if name not in names:
            raise UnknownName.of(f"field of {cls.__name__}", str(name), names)
    return dict(given)


def _amount(name: str, value: object) -> Decimal | None:
    if value is None and name == "maximum":
        return None
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"Commission: {name} must be an amount of money: got {value!r}") from None


def _exit(value: object) -> bool:
    return value is None or isinstance(value, Exit)


def _text(amount: object) -> str | None:
    return None if amount is None else str(amount)


def _commission(c: Any) -> str:
    said = [f"{c.per_order} an order" if c.per_order else "", f"{c.per_share} a share" if c.per_share else ""]
    said += [f"{c.bps} bps" if c.bps else "", f"at least {c.minimum}" if c.minimum else ""]
    return " + ".join(part for part in said if part) or "none"
