"""The colours of the charts: one dark ground, three ways to say up and down."""

from __future__ import annotations

from dataclasses import dataclass

GROUND = "#0b1220"
GRID = "rgba(148,163,184,0.10)"
TEXT = "#c7d2e3"
MUTED = "#8494ab"
SHADE = "rgba(99,130,190,0.10)"
LINES = ("#f5b942", "#5aa9ff", "#c084fc", "#8fa3bf", "#22d3ee", "#f472b6", "#a3e635", "#fb923c")
MARK = "#ffd166"


@dataclass(frozen=True, slots=True)
class Palette:
    """How up and down are told apart; never by colour alone: signs and shapes say it too."""

    label: str
    up: str
    down: str


PALETTES: dict[str, Palette] = {
    "green-red": Palette("Green up, red down", "#22c08a", "#f0575f"),
    "blue-orange": Palette("Blue up, orange down (easy on colour-blind eyes)", "#3d8bff", "#ff9a3c"),
    "red-green": Palette("Red up, green down (as in East Asia)", "#f0575f", "#22c08a"),
}
DEFAULT = "green-red"


def faded(colour: str, alpha: float) -> str:
    """`#rrggbb` with an alpha, as CSS."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
