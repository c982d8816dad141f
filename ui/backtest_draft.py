"""The question of a backtest as it stands in the fields: kept over reruns and pages, whatever is typed.

A draft has the shape of `Asked.to_dict()`, a strategy has an `id` beside it. Widgets are called after the draft's
number: a new draft (a preset, an earlier question) gets new widgets that begin with its values.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import streamlit as st

from backtest.setup import Setup
from domain.errors import DeskError
from domain.instruments import KNOWN
from domain.matching import FillRules
from domain.params import Param, params_of
from research.study import Asked, Chosen
from strategies.base import find, names, unusable
from ui import filters_form
from ui.param_fields import cast
from ui.session import Open

Draft = dict[str, Any]
EXITS = ("stop", "target", "trail")
COMMISSION = {"per_order": "an order", "per_share": "a share", "bps": "bps of the value", "minimum": "at least"}
PARTS = ("low", "high", "step")
MOST_STRATEGIES = 8
_DRAFT, _NUMBER = "bt_draft", "bt_draft_number"


def draft(app: Open) -> Draft:
    """The question as it stands in the fields of this visit."""
    if _DRAFT not in st.session_state:
        begin(_first(app))
    found: Draft = st.session_state[_DRAFT]
    return found


def begin(given: Draft) -> None:
    """Put another question into the form."""
    strategies = [{**one, "id": one.get("id") or uuid4().hex[:8]} for one in given["strategies"]]
    st.session_state[_DRAFT] = {**given, "strategies": strategies}
    st.session_state[_NUMBER] = st.session_state.get(_NUMBER, 0) + 1


def _first(app: Open) -> Draft:
    """What a newcomer finds: the first symbol of the watch list, and prices that are there."""
    symbols = [s for s in app.people.watchlist() if s in KNOWN][:1] or ["AAPL"]
    asked = Asked(symbols=tuple(symbols), strategies=(Chosen("sma_crossover"),), source=first_source(app))
    return asked.to_dict()


def first_source(app: Open) -> str:
    """The desk's own source; on a simulated desk the person's own candles, where there are any."""
    market = app.desk.market
    own = market.simulated and (market.holdings() or market.kept())
    return "files" if own else str(market.name)


def asked_of(given: Draft) -> Asked:
    """The question, checked. ValueError or DeskError names what is wrong."""
    strategies = [{"name": one["name"], "params": one["params"]} for one in given["strategies"]]
    return Asked.of({**given, "strategies": strategies})


def complaint(given: Draft) -> str:
    """Why it cannot be asked; "" where it can."""
    try:
        asked_of(given)
    except (DeskError, ValueError, TypeError) as error:
        return str(error)
    return ""


# Reading the fields


def collect() -> Draft:
    """The draft with what the fields hold now; what is not drawn keeps the value it had. It is kept."""
    known: Draft = st.session_state[_DRAFT]
    days = {name: _day(value_of(name, known[name])) for name in ("start", "end")}
    found = {
        **known,
        **days,
        "symbols": list(value_of("symbols", known["symbols"])),
        "interval": value_of("interval", known["interval"]),
        "source": value_of("source", known["source"]),
        "share_cash": value_of("share_cash", known["share_cash"]),
        "judged": value_of("judged", known["judged"]),
        "strategies": [_strategy(one) for one in known["strategies"]],
        "setup": _setup(known["setup"]),
    }
    found["sweep"] = _sweep(known["sweep"], found["strategies"])
    st.session_state[_DRAFT] = found
    return found


def key_of(name: str) -> str:
    return f"bt_{st.session_state[_NUMBER]}_{name}"


def value_of(name: str, otherwise: Any) -> Any:
    return st.session_state.get(key_of(name), otherwise)


def held(name: str, value: Any) -> str:
    """A widget's key, its value beginning with the draft's."""
    key = key_of(name)
    st.session_state.setdefault(key, value)
    return key


def _day(value: Any) -> str:
    return value if isinstance(value, str) else value.isoformat() if value else ""


def _strategy(one: Draft) -> Draft:
    name = value_of(f"s{one['id']}", one["name"])
    params = one["params"] if name == one["name"] else {}
    fields = {p: value_of(f"s{one['id']}_{name}_{p}", cast(param, params)) for p, param in declared(name).items()}
    return {"id": one["id"], "name": name, "params": fields}


def declared(name: str) -> dict[str, Param]:
    return params_of(find(name)) if name in offered() else {}


def offered() -> list[str]:
    """The strategies a form can offer."""
    broken = unusable()
    return [name for name in names() if name not in broken]


def _setup(known: Draft) -> Draft:
    simple = {name: value_of(f"setup_{name}", known[name]) for name in params_of(Setup)}
    fills = {name: value_of(f"fills_{name}", known["fills"][name]) for name in params_of(FillRules)}
    paid = {name: _money(value_of(f"fee_{name}", known["fills"]["commission"][name])) for name in COMMISSION}
    commission = {**known["fills"]["commission"], **paid}
    return {
        **simple,
        **{name: _exit(name, known[name]) for name in EXITS},
        "fills": {**fills, "commission": commission},
        **filters_form.chosen(known["filters"], known["good_for"], value_of),
    }


def _money(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def _exit(name: str, known: Draft | None) -> Draft | None:
    kind = value_of(f"{name}_kind", known["kind"] if known else "")
    amount = value_of(f"{name}_amount", known["amount"] if known else 2.0)
    period = value_of(f"{name}_period", known["period"] if known else 14)
    return {"kind": kind, "amount": amount, "period": period} if kind else None


def _sweep(known: Draft | None, strategies: list[Draft]) -> Draft | None:
    if not value_of("sweep", bool(known)) or not strategies:
        return None
    ranges = ranges_of(strategies[0]["name"])
    found = {}
    for at, name in enumerate(_swept(known, ranges)):
        begin_with = (known or {}).get(name) or ranges[name]
        found[name] = [value_of(f"sweep_{at}_{name}_{part}", v) for part, v in zip(PARTS, begin_with, strict=True)]
    return found


def _swept(known: Draft | None, ranges: dict[str, list[float]]) -> list[str]:
    """The one or two parameters that are varied."""
    usual = [*[name for name in known or {} if name in ranges], *[n for n in ranges if n not in (known or {})]][:2]
    chosen = [value_of(f"sweep_{at}", usual[at] if at < len(usual) else None) for at in (0, 1)]
    return list(dict.fromkeys(name for name in chosen if name in ranges))


def ranges_of(strategy: str) -> dict[str, list[float]]:
    """A range to begin with for each number a strategy declares: about ten values around its default."""
    found = {}
    for name, param in declared(strategy).items():
        if param.kind not in (int, float):
            continue
        low, high = (param.default / 2, param.default * 2) if param.default else (param.low or 0.0, param.high or 1.0)
        low, high = max(low, param.low or low), min(high, param.high if param.high is not None else high)
        if param.kind is int:
            step = max(1, round((high - low) / 10))
            found[name] = [int(low), int(high), step]
        else:
            found[name] = [round(low, 4), round(high, 4), round((high - low) / 10, 4) or 0.1]
    return found


def strategy_complaint(one: Draft) -> str:
    """Why a strategy cannot be made of these parameters; "" where it can."""
    try:
        Chosen(one["name"], one["params"]).made()
    except (DeskError, ValueError, TypeError) as error:
        return str(error)
    return ""


def add() -> None:
    known = collect()
    last = known["strategies"][-1]
    known["strategies"] = [
        *known["strategies"],
        {"id": uuid4().hex[:8], "name": last["name"], "params": dict(last["params"])},
    ]


def drop(strategy: str) -> None:
    known = collect()
    known["strategies"] = [one for one in known["strategies"] if one["id"] != strategy]
