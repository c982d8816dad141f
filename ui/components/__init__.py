"""What Streamlit has no widget for: the ticker strip, the live chart with our orders on it, and the desk's own panel.

Each is a small script of its own beside this file. They ask `/live/...` once a second by themselves, so that a tick
costs no Streamlit rerun, and they work out the age of what they show in the browser, so that a dead connection shows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
import streamlit as st

from ui import palettes, theme
from ui.live import CHART_PATH, DESK_PATH, PLOTLY_PATH, QUOTES_PATH
from ui.palettes import Palette

_HERE = Path(__file__).parent


_INKS = theme.script(palettes.INKS)


def _text(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


_chart = st.components.v2.component(
    "desk_chart",
    html="<div class='dc'><div class='dc-read' aria-live='off'></div><div class='dc-plot'></div>"
    "<div class='dc-veil' role='status'></div></div>",
    css=_text("chart.css", "lines.css"),
    js=_INKS + _text("shared.js", "feed.js", "lines.js", "cursor.js", "chart.js"),
    isolate_styles=False,
)
_ticker = st.components.v2.component(
    "desk_ticker",
    html="<div class='dt'><div class='dt-bar'></div><div class='dt-chips' role='list'></div></div>",
    css=_text("ticker.css"),
    js=_INKS + _text("shared.js", "ticker.js"),
    isolate_styles=False,
)
_desk = st.components.v2.component(
    "desk_panel",
    html="<div class='dk'></div>",
    css=_text("desk.css"),
    js=_INKS + _text("shared.js", "feed.js", "desk.js"),
    isolate_styles=False,
)
_figure = st.components.v2.component(
    "desk_figure",
    html="<div class='df'></div>",
    css=".df { width: 100%; border-radius: 8px; overflow: hidden; background: var(--desk-plot); }\n"
    ".df:focus-visible { outline: 2px solid var(--desk-focus); outline-offset: 2px; }",
    js=_INKS + _text("shared.js", "figure.js"),
    isolate_styles=False,
)


def live_chart(
    query: dict[str, str],
    *,
    key: str,
    height: int,
    account: str = "",
    on_move: Callable[[], None] | None = None,
    failed: dict[str, str] | None = None,
    held: bool = False,
) -> Any:
    """The live candlestick chart of what `query` names (see `ui.live.read_view`), redrawn in place each second, with
    the position, orders and fills of `account` on it. A line that was dragged and applied lands in `.moved`; `failed`
    says which moves never reached the inbox, and why; `held`: no line can be moved."""
    data = {
        "query": query,
        "chart": _address(CHART_PATH),
        "desk": _address(DESK_PATH),
        "account": account,
        "failed": failed or {},
        "held": held,
        "plotly": f"{_address(PLOTLY_PATH)}?v={plotly.__version__}",
        "height": height,
    }
    return _chart(key=key, data=data, height=height, on_moved_change=on_move or _nothing)


def desk_panel(
    form: str,
    account: str,
    *,
    colours: Palette,
    key: str,
    on_press: Callable[[], None],
    first: dict[str, Any] | None = None,
    told: dict[str, Any] | None = None,
    stops: bool = True,
) -> Any:
    """How the desk stands: as the sidebar's panel (`side`), as the line that says whose money it is (`banner`, which
    shows `first` until the browser has asked; the others show the desk as `told`), or as alarms and a line above the
    page (`strip`). A button in it lands in `.pressed` as `stop`, `arm` or `go` with where to. `stops`: the line has the
    switch that stops the desk."""
    data = {
        "form": form,
        "account": account,
        "desk": _address(DESK_PATH),
        "up": colours.rising.css,
        "down": colours.falling.css,
        "first": first,
        "told": told,
        "stops": stops,
    }
    return _desk(key=key, data=data, on_pressed_change=on_press)


def steady_figure(figure: go.Figure, *, key: str, label: str, config: dict[str, Any] | None = None) -> Any:
    """A figure in the theme its reader has, redrawn in place where `st.plotly_chart` would blink and keep its colours.
    It needs a height. `label` says in words what is drawn, for who cannot see it."""
    data = {
        "figure": figure.to_json(),
        "label": label,
        "config": config or {},
        "height": figure.layout.height,
        "plotly": f"{_address(PLOTLY_PATH)}?v={plotly.__version__}",
    }
    return _figure(key=key, data=data, height=figure.layout.height)


def _nothing() -> None: ...


def ticker_strip(
    symbols: list[str],
    selected: str,
    *,
    colours: Palette,
    key: str,
    on_pick: Callable[[], None],
    on_drop: Callable[[], None],
) -> Any:
    """The badges and one chip a symbol. A click picks it (`.picked`), its cross drops it (`.dropped`)."""
    data = {
        "symbols": symbols,
        "selected": selected,
        "quotes": _address(QUOTES_PATH),
        "up": colours.rising.css,
        "down": colours.falling.css,
    }
    return _ticker(key=key, data=data, on_picked_change=on_pick, on_dropped_change=on_drop)


def _address(path: str) -> str:
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    return f"/{base}{path}" if base else path
