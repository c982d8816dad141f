"""A form within a page whose fields Streamlit never sees: what is typed goes from the browser to a route of this server
(`ui.private_post`), and the page hears only that it was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import streamlit as st

_HERE = Path(__file__).parent / "components"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `autocomplete` as HTML has it; `choices` make it a list to choose from, value by label; `hint` stands
    beneath it, `placeholder` in it."""

    name: str
    label: str
    kind: Literal["text", "password"] = "text"
    autocomplete: str = "off"
    placeholder: str = ""
    hint: str = ""
    choices: Sequence[tuple[str, str]] = ()
    needed: bool = True


_form = st.components.v2.component(
    "desk_sealed_form",
    html="<div class='sf'></div>",
    css=(_HERE / "sealed.css").read_text(encoding="utf-8"),
    js=(_HERE / "sealed.js").read_text(encoding="utf-8"),
    isolate_styles=False,
)


def sealed_form(
    action: str,
    fields: Sequence[Field],
    button: str,
    *,
    key: str,
    hidden: dict[str, str] | None = None,
    on_done: Callable[[], None] | None = None,
) -> None:
    """Draw it. What the route says stands beneath; where it was done, the fields are emptied and the page runs anew,
    `on_done` first. `hidden` goes along as it is."""
    data = {
        "action": _address(action),
        "fields": [asdict(one) for one in fields],
        "button": button,
        "hidden": hidden or {},
    }
    _form(key=key, data=data, on_done_change=on_done or _nothing)


def signed_out_by(action: str, label: str, *, key: str) -> None:
    """A small button that posts nothing but itself, and follows where the route leads."""
    _leave(key=key, data={"action": _address(action), "label": label})


_leave = st.components.v2.component(
    "desk_leave",
    html="<form class='sf-leave' method='post'><button type='submit'></button></form>",
    css=(_HERE / "sealed.css").read_text(encoding="utf-8"),
    js="""export default function ({ data, parentElement }) {
  const form = parentElement.querySelector("form");
  form.action = data.action;
  form.target = "_top";
  form.querySelector("button").textContent = data.label;
}""",
    isolate_styles=False,
)


def _nothing() -> None: ...


def _address(path: str) -> str:
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{path}" if base else path
