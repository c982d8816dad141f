"""One declared parameter as a field of a form."""

from __future__ import annotations

import streamlit as st

from domain.params import Param


def field(param: Param, key: str, label: str = "", *, step: float | None = None, width: int = 125) -> None:
    """Its range is told here, and checked where the question is made."""
    label = label or param.name.replace("_", " ")
    within = "" if param.low is None or param.high is None else f" From {param.low:g} to {param.high:g}."
    note = f"{param.help[:1].upper()}{param.help[1:]}.{within}"
    if param.kind is bool:
        st.checkbox(label, key=key, help=note)
    elif param.choices:
        st.selectbox(label, list(param.choices), key=key, help=note, width=150)
    elif param.kind is int:
        st.number_input(label, step=1, key=key, help=note, width=115)
    elif param.kind is float:
        st.number_input(label, step=step or param.step or 0.1, format="%g", key=key, help=note, width=width)
    else:
        st.text_input(label, key=key, help=note, width=150)


def cast(param: Param, params: dict[str, object]) -> object:
    """A parameter's value, its default where it is not given; JSON may have made a whole number of a fraction."""
    value = params.get(param.name, param.default)
    return float(value) if param.kind is float and isinstance(value, int) else value
