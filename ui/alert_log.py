"""The log of every program of this desk, to be read by people.

Everybody who is signed in may read it: secrets were taken out before it was written. Addresses of people are shown to
owners only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

import bootstrap
from desk import logs
from desk.logs import Line
from domain.errors import DeskError
from settings import EMAIL, PHONE
from ui import dialogs, telling, wording
from ui.session import Open

SHOWN, READ = 200, 1000
ROWS = 14  # more than these scroll in a place of their own
BY_ITSELF_BYTES = 5_000_000  # to read more takes long enough to be felt by whoever trades on this machine
LEVELS = {
    "debug": "· debug",
    "info": "● info",
    "warning": "▲ warning",
    "error": "✖ error",
    "critical": "‼ critical",
}
FROM = {"Everything": "debug", "Info": "info", "Warnings": "warning", "Errors": "error"}
PROGRAMS = ("dashboard", "engine", "notifier")
ANY = "Any"
OPEN = ":material/visibility:"
_SHOWN = "log_shown"


@dataclass(frozen=True, slots=True)
class Filters:
    """What is looked for; '' is anything."""

    level: str = "info"
    program: str = ""
    symbol: str = ""
    order: str = ""
    text: str = ""


def log(app: Open) -> None:
    """The whole tab."""
    path = bootstrap.start().settings.log_path
    wanted = _filters(path)
    size = _size(path)
    if size <= BY_ITSELF_BYTES:
        st.fragment(_lines, run_every=4)(app, path, wanted)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Look again", key="log_again", icon=":material/refresh:")
        st.caption(f"The log has {size / 1e6:.0f} MB by now: it is read again when you press, not by itself.")
    _lines(app, path, wanted)


def _filters(path: Path) -> Filters:
    """The fields, kept in the address."""
    more: dict[str, Any] = {"bind": "query-params"}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        level = st.segmented_control("At least", list(FROM), default="Info", required=True, key="level", **more)
        others = {line.program for line in _read(str(path), _stamp(path), Filters())} - {"", *PROGRAMS}
        program = st.selectbox("Program", [ANY, *PROGRAMS, *sorted(others)], key="program", width=150, **more)
        symbol = st.text_input("Symbol", key="about", placeholder=ANY, width=110, **more)
        order = st.text_input("Order", key="order", placeholder=ANY, width=150, **more)
        text = st.text_input("Text", key="text", placeholder="Anything in a line", width=220, **more)
    chosen = "" if program in (ANY, None) else program
    return Filters(FROM[level], chosen, symbol.strip().upper(), order.strip(), text.strip())


def lines(path: Path, wanted: Filters, *, addresses: bool) -> list[Line]:
    """The newest lines that fit, newest first."""
    found = _read(str(path), _stamp(path), wanted)
    if not addresses:
        hidden = (without_addresses(line) for line in found)
        found = [line for line in hidden if wanted.text.lower() in _whole(line).lower()]
    return found[:SHOWN]


def without_addresses(line: Line) -> Line:
    """The same line with every mail address and phone number taken out."""
    more = json.loads(_no_address(json.dumps(line.more, default=str)))
    return replace(line, event=_no_address(line.event), exception=_no_address(line.exception), more=more)


def _no_address(text: str) -> str:
    return PHONE.sub("[phone]", EMAIL.sub("[address]", text))


def _whole(line: Line) -> str:
    return " ".join(
        [line.at, line.program, line.logger, line.event, line.symbol, line.order, line.exception, str(line.more)]
    )


def _stamp(path: Path) -> tuple[int, int]:
    """Another one once something was written."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _size(path: Path) -> int:
    """Of the log and its older files."""
    files = [path, *(logs.numbered(path, n) for n in range(1, logs.KEPT + 1))]
    return sum(_stamp(file)[1] for file in files)


@st.cache_data(max_entries=8, show_spinner=False)
def _read(path: str, stamp: tuple[int, int], wanted: Filters) -> list[Line]:
    """Read once for all who look, until something is written."""
    asked = {"level": wanted.level, "symbol": wanted.symbol, "order": wanted.order, "text": wanted.text}
    found = logs.read(Path(path), **asked, most=READ)  # type: ignore[arg-type]
    return [line for line in found if wanted.program in ("", line.program)]


def _lines(app: Open, path: Path, wanted: Filters) -> None:
    dialogs.step_out()
    try:
        shown = lines(path, wanted, addresses=telling.sees_all(app))
    except (DeskError, OSError) as error:
        st.error(f"The log cannot be read: {wording.plain(error)}", icon=":material/error:")
        return
    if not shown:
        _empty(wanted)
        return
    st.session_state[_SHOWN] = shown
    height = 560 if len(shown) > ROWS else "auto"
    st.dataframe(table(shown, app.zone), hide_index=True, key="log", column_config=_columns(app.zone), height=height)
    st.caption(_count(shown))


def _count(shown: list[Line]) -> str:
    bad = sum(line.level in ("error", "critical") for line in shown)
    newest = (
        f"The newest {SHOWN} lines" if len(shown) == SHOWN else f"{len(shown)} line{'' if len(shown) == 1 else 's'}"
    )
    return f"{newest}, {bad} of them errors. Secrets are taken out before a line is written."


def table(shown: list[Line], zone: str) -> pd.DataFrame:
    """The lines in words; of an exception its last line."""
    return pd.DataFrame(
        {
            "Do": [OPEN],
            "Time": _hour(line.at, zone),
            "Level": LEVELS.get(line.level, line.level),
            "What": " ".join(line.event.split()),
            "Program": line.program,
            "Exception": line.exception.strip().splitlines()[-1] if line.exception.strip() else "",
            "Symbol": line.symbol,
            "Order": line.order,
            "Logger": line.logger,
        }
        for line in shown
    )


def _hour(at: str, zone: str) -> str:
    try:
        return wording.hour(pd.Timestamp(at).to_pydatetime(), zone)
    except (ValueError, TypeError):
        return at


def _columns(zone: str) -> dict[str, Any]:
    return {
        "Do": st.column_config.ButtonColumn(
            "", width=44, on_click=_chosen, key="log_act", type="tertiary", pinned=True
        ),
        "Time": st.column_config.TextColumn(f"Time ({wording.zone_name(zone)})", width=150),
        "Level": st.column_config.TextColumn(width=95),
        "What": st.column_config.TextColumn(width=520),
        "Program": st.column_config.TextColumn(width=95),
        "Exception": st.column_config.TextColumn(width=260),
        "Symbol": st.column_config.TextColumn(width=75),
        "Order": st.column_config.TextColumn(width=100),
        "Logger": st.column_config.TextColumn(width=150),
    }


def _empty(wanted: Filters) -> None:
    if wanted == Filters():
        st.info(
            "Nothing is in the log yet. The dashboard, the engine and the notifier write here what they do and what "
            "goes wrong; the first line appears once one of them has started.",
            icon=":material/receipt_long:",
        )
        return
    st.info("No line fits these filters. Take a word away, or choose Everything.", icon=":material/filter_alt_off:")


def _chosen() -> None:
    """A press in a row: its line is looked up in the rows as they were shown."""
    click, shown = st.session_state["log_act"], st.session_state.get(_SHOWN, [])
    if click and click["row"] < len(shown):
        dialogs.soon("log_line", line=shown[click["row"]])


@dialogs.dialog
@st.dialog("A line of the log", width="large")
def log_line(app: Open, key: str, line: Line) -> None:
    """Everything the line holds, its exception folded away."""
    st.markdown(f"**{LEVELS.get(line.level, line.level)}** · {wording.plain(line.event)}")
    told = {"Time": _hour(line.at, app.zone), "Program": line.program, "Logger": line.logger}
    told |= {"Symbol": line.symbol, "Order": line.order}
    told |= {name: json.dumps(value, default=str) for name, value in line.more.items()}
    st.markdown("\n".join(f"- **{wording.plain(name)}**: {wording.plain(text)}" for name, text in told.items() if text))
    if line.exception.strip():
        with st.expander(line.exception.strip().splitlines()[-1][:120], icon=":material/bug_report:"):
            st.code(line.exception.strip(), language="text", wrap_lines=True)
