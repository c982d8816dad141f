"""The filters of a form: which of the drawer let an entry in, with their settings, and for how long a signal waits.

    filters_form.fields(setup["filters"], setup["good_for"], held)
    setup |= filters_form.chosen(setup["filters"], setup["good_for"], value_of)

`held(name, value)` gives a widget's key, its value beginning with `value`; `value_of(name, otherwise)` what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from backtest.setup import Setup
from domain.errors import DeskError
from domain.params import Param, params_of
from filters.base import find, names, unusable
from ui import wording
from ui.param_fields import cast, field

Chosen = Sequence[Mapping[str, Any]]  # as `Setup.to_dict` writes filters
Held = Callable[[str, Any], str]
Value = Callable[[str, Any], Any]


def offered() -> list[str]:
    """The filters that a form can offer."""
    broken = unusable()
    return [name for name in names() if name not in broken]


def fields(known: Chosen, good_for: int, held: Held) -> None:
    """Which filters, the settings of each, and the bars for which a signal waits for them."""
    for name, why in unusable().items():
        st.warning(wording.plain(f"The filter {name} is left out: {why}"), icon=":material/warning:")
    usable, before = offered(), {one["name"]: dict(one.get("params", {})) for one in known}
    picked = st.multiselect(
        "Let an entry in only where all of these pass",
        [*usable, *(name for name in before if name not in usable)],
        key=held("filters", list(before)),
        format_func=lambda name: str(find(name).label) if name in usable else f"{name} (gone)",
        placeholder="No filter: every signal is followed",
        help="A filter stops entries only. What closes a position is never held up.",
    )
    for name in picked:
        if name in usable:
            _one(name, before.get(name, {}), held)
    if picked:
        param = params_of(Setup)["good_for"]
        field(param, held("setup_good_for", good_for), "Bars it waits")
        st.caption("So many bars after its own a signal may still be let in; 0 asks its own bar alone.")


def _one(name: str, params: dict[str, Any], held: Held) -> None:
    st.markdown(f"**{wording.plain(find(name).label)}** · {wording.plain(find(name).about)}")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for one in _declared(name).values():
            field(one, held(_key(name, one), cast(one, params)))
    now = {p: st.session_state[held(_key(name, one), None)] for p, one in _declared(name).items()}
    if said := complaint([{"name": name, "params": now}]):
        st.error(wording.plain(said), icon=":material/error:")


def chosen(known: Chosen, good_for: int, value: Value) -> dict[str, Any]:
    """What the fields hold, as `Setup.of` reads it: `filters` and `good_for`."""
    before = {one["name"]: dict(one.get("params", {})) for one in known}
    picked = value("filters", list(before))
    filters = [{"name": name, "params": _values(name, before.get(name, {}), value)} for name in picked]
    return {"filters": filters, "good_for": value("setup_good_for", good_for)}


def _values(name: str, params: dict[str, Any], value: Value) -> dict[str, Any]:
    if name not in offered():
        return params
    return {p: value(_key(name, one), cast(one, params)) for p, one in _declared(name).items()}


def _key(name: str, param: Param) -> str:
    return f"filter_{name}_{param.name}"


def _declared(name: str) -> dict[str, Param]:
    return params_of(find(name))


def complaint(filters: Chosen) -> str:
    """Why these cannot be; "" where they can."""
    try:
        Setup.of({"filters": list(filters)})
    except (DeskError, ValueError, TypeError) as error:
        return str(error)
    return ""


def words(filters: Chosen, good_for: int) -> str:
    """Them in a line for a person: `Volume (bars 50, percentile 60), within 3 bars`; "" where there are none."""
    if not filters:
        return ""
    usable = offered()
    said = [_words(one, usable) for one in filters]
    return f"{', '.join(said)}, {f'within {good_for} bars' if good_for else 'on its own bar'}"


def _words(one: Mapping[str, Any], usable: list[str]) -> str:
    label = str(find(one["name"]).label) if one["name"] in usable else str(one["name"])
    values = [f"{name.replace('_', ' ')} {value}" for name, value in one.get("params", {}).items() if value != ""]
    return f"{label} ({', '.join(values)})" if values else label
