"""How a page begins: its title, the desk, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

import bootstrap
from desk.authority import Deed
from desk.known import SignedIn
from desk.people import Own
from domain.commands import Kind
from performance_utils import Desk
from ui import desk_bar, palettes, sign_in, theme

ICON = str(Path(__file__).parent / "icon.png")
ABOUT = "**Candlestick desk.** Candles, orders and strategies of your own desk, on your own machine."
# No icons: Streamlit fetches a page's icon from a server of its own, and this desk asks nobody but its data source.
PAGES: list[dict[str, Any]] = [
    {"page": "pages/live_dashboard.py", "title": "Live dashboard", "default": True},
    {"page": "pages/positions.py", "title": "Positions", "url_path": "positions"},
    {"page": "pages/bot.py", "title": "Bot", "url_path": "bot"},
    {"page": "pages/backtest.py", "title": "Backtest", "url_path": "backtest"},
    {"page": "pages/model_training.py", "title": "Model training", "url_path": "training"},
    {"page": "pages/alerts.py", "title": "Alerts", "url_path": "alerts"},
    {"page": "pages/settings.py", "title": "Settings", "url_path": "settings"},
]


@dataclass(frozen=True, slots=True)
class Open:
    """What a page works with."""

    desk: Desk
    people: Own
    preferences: dict[str, Any]
    signed: SignedIn | None = None

    def may(self, what: Deed | Kind) -> bool:
        """Whether it is worth offering: the engine, or `sign_in.must`, decides when it is done."""
        return sign_in.may(self.signed, what)

    @property
    def palette(self) -> str:
        """The chosen colours; the first ones where the choice is gone."""
        chosen = self.preferences.get("palette", palettes.DEFAULT)
        return chosen if chosen in palettes.PALETTES else palettes.DEFAULT

    @property
    def theme(self) -> theme.Name:
        """The theme this reader has, as far as their browser has said; what a browser can colour itself asks it."""
        return "light" if st.context.theme.type == "light" else "dark"

    @property
    def colours(self) -> palettes.Worn:
        """Up and down for the cells of a table."""
        return palettes.PALETTES[self.palette].worn(self.theme)

    @property
    def zone(self) -> str:
        """The zone of the charts' time axis."""
        return self.preferences.get("zone", "America/New_York")


def open_page(title: str) -> Open:
    """Every page's first line. A deep link may run a page without the entry script, so all it needs comes from here.
    The desk and the switch that stops it come before anything that could fail."""
    st.set_page_config(
        page_title=f"{title} · Candlestick desk",
        page_icon=ICON,
        layout="wide",
        initial_sidebar_state=desk_bar.SIDEBAR_WIDTH,
        menu_items={"About": ABOUT},  # with it comes Streamlit's choice between dark and light
    )
    signed = sign_in.guard()
    if mark := desk_bar.mark():
        st.set_page_config(page_title=f"{mark}{title} · Candlestick desk")
    desk_bar.draw()
    people = bootstrap.people().own(sign_in.person(signed))
    return Open(bootstrap.start(), people, people.preferences(), signed)
