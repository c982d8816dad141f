"""The colours of the desk: each has one name, and one value in the dark theme and one in the light.

The rule: no colour stands anywhere else. Style sheets say `var(--desk-NAME)`; figures are drawn in the dark values,
and the browser repaints them where its reader has the light theme (`script`), so that a switch needs no new page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Name = Literal["dark", "light"]
FONT = "'Source Sans', Inter, 'Segoe UI', system-ui, sans-serif"


@dataclass(frozen=True, slots=True)
class Ink:
    """One colour, `#rrggbb`, in both themes."""

    dark: str
    light: str

    def on(self, theme: Name) -> str:
        """Its value in that theme."""
        return self.light if theme == "light" else self.dark

    @property
    def css(self) -> str:
        """For a style sheet: the browser takes the value of the theme its reader has."""
        return f"light-dark({self.light}, {self.dark})"


INKS: dict[str, Ink] = {
    # What things lie on
    "ground": Ink("#0b1220", "#f6f8fb"),
    "surface": Ink("#111b2e", "#ffffff"),
    "raised": Ink("#18243c", "#e9eef6"),
    # Lines that part, and the edges of what can be used
    "line": Ink("#24324c", "#d5dde9"),
    "edge": Ink("#66799d", "#75849c"),
    # Writing
    "text": Ink("#e6edf7", "#132038"),
    "soft": Ink("#c3cfe0", "#33425c"),
    "muted": Ink("#9aa9c0", "#52617a"),
    # What can be pressed, and where the keyboard is
    "accent": Ink("#3ccfbb", "#0b6f68"),
    "on-accent": Ink("#04211d", "#fdffff"),
    "chosen": Ink("#123a3c", "#d5f0ec"),
    "focus": Ink("#f7f9fd", "#0a1730"),
    # How things stand: writing, and a ground with the writing on it
    "good": Ink("#3fcf94", "#0f7a4f"),
    "warn": Ink("#ffd167", "#795b00"),
    "bad": Ink("#ff8f97", "#b3202d"),
    "info": Ink("#7cc7ff", "#0b63a5"),
    "good-ground": Ink("#0f3d31", "#d6f5e8"),
    "on-good": Ink("#5ff0bd", "#0b5c3d"),
    "warn-ground": Ink("#4a3508", "#fff0c9"),
    "on-warn": Ink("#ffd168", "#6b4e00"),
    "bad-ground": Ink("#b3202c", "#b3202c"),
    "on-bad": Ink("#fefefe", "#fefefe"),
    "info-ground": Ink("#12324a", "#d9ecff"),
    "on-info": Ink("#8ed1ff", "#0b4f86"),
    "tip": Ink("#16233b", "#fdfdfe"),
    # Whose money it is
    "paper": Ink("#4f46e5", "#4f46e5"),
    "live": Ink("#c81e2b", "#c81e2b"),
    "live-quiet": Ink("#3a0d13", "#fde4e6"),
    "on-live-quiet": Ink("#ffc2c6", "#8c1420"),
    "rehearsal": Ink("#86198f", "#86198f"),
    "rehearsal-quiet": Ink("#331238", "#f9e6fb"),
    "on-rehearsal-quiet": Ink("#f0c4f5", "#701278"),
    "on-mode": Ink("#ffffff", "#ffffff"),
    "simulated": Ink("#ffd166", "#ffd166"),
    "on-simulated": Ink("#241a00", "#241a00"),
    # Figures
    "plot": Ink("#0c1321", "#fefeff"),
    "mark": Ink("#ffd169", "#8a6400"),
    "shade": Ink("#6382be", "#3f66b0"),
    "grid": Ink("#94a3b8", "#40557c"),
    "seal": Ink("#ffd16a", "#a37200"),
    "heat-gain": Ink("#1f5fc4", "#a9ccff"),
    "heat-even": Ink("#16223a", "#eef2f8"),
    "heat-loss": Ink("#a14f08", "#ffc690"),
    "heat-text": Ink("#fffffe", "#131f37"),
    # Our own orders on a chart
    "order": Ink("#b8c4d6", "#4a5a75"),
    "order-stop": Ink("#ff8b80", "#b8281c"),
    "order-target": Ink("#4fd6a4", "#0d7450"),
    "order-entry": Ink("#6ea8ff", "#1f5ac2"),
}
# Lines of studies and of runs, told apart by their dashes and names too
LINES = (
    Ink("#e9d44d", "#7a6200"),
    Ink("#c084fc", "#7c3aed"),
    Ink("#2fd0b8", "#0d6e66"),
    Ink("#f472b6", "#be185d"),
    Ink("#9fb3cf", "#51617a"),
    Ink("#a3e635", "#4a7309"),
    Ink("#5cc8ff", "#0a62a4"),
    Ink("#fb8d5c", "#b4451b"),
)
# Which colours are read on which: text wants 4.5, lines and edges want 3 (WCAG 2.2, 1.4.3 and 1.4.11)
TEXT_RATIO, LINE_RATIO = 4.5, 3.0
GROUNDS = ("ground", "surface", "raised")
READ_ON: tuple[tuple[str, tuple[str, ...]], ...] = (
    *((name, (*GROUNDS, "plot")) for name in ("text", "soft", "muted", "good", "warn", "bad", "info", "accent")),
    *((name, ("plot", "ground")) for name in ("order", "order-stop", "order-target", "order-entry", "mark")),
    ("on-accent", ("accent",)),
    ("accent", ("chosen",)),
    ("text", ("chosen", "tip")),
    ("on-good", ("good-ground",)),
    ("on-warn", ("warn-ground",)),
    ("on-bad", ("bad-ground",)),
    ("on-info", ("info-ground",)),
    ("on-mode", ("paper", "live", "rehearsal")),
    ("on-live-quiet", ("live-quiet",)),
    ("on-rehearsal-quiet", ("rehearsal-quiet",)),
    ("on-simulated", ("simulated",)),
    ("heat-text", ("heat-gain", "heat-even", "heat-loss")),
    ("ground", ("order", "order-stop", "order-target", "order-entry")),
)
SEEN_ON: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("edge", GROUNDS),
    ("accent", GROUNDS),
    ("focus", (*GROUNDS, "chosen")),  # two pixels off what it goes around, so it lies on the ground
)


def value(name: str, theme: Name = "dark") -> str:
    """The colour of that name, `#rrggbb`."""
    return INKS[name].on(theme)


def faded(colour: str, alpha: float) -> str:
    """`#rrggbb` with an alpha, as CSS."""
    red, green, blue = channels(colour)
    return f"rgba({red},{green},{blue},{alpha})"


def channels(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`, 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def repaint(more: Iterator[Ink] | tuple[Ink, ...] = ()) -> dict[str, str]:
    """Dark value to light value, of every colour; ValueError where one dark value would need two light ones."""
    found: dict[str, str] = {}
    for ink in (*INKS.values(), *LINES, *more):
        if found.setdefault(ink.dark, ink.light) != ink.light:
            raise ValueError(f"{ink.dark} is the dark value of two colours: {found[ink.dark]} and {ink.light} in light")
    return found


def css() -> str:
    """The names as custom properties, for every style sheet of the desk."""
    lines = [f"  --desk-{name}: {ink.css};" for name, ink in INKS.items()]
    return ":root {\n" + "\n".join(lines) + "\n}\n"


def script(more: tuple[Ink, ...] = ()) -> str:
    """What a script of the desk begins with: the colours that it repaints figures with."""
    return f"const LIGHT_INKS = {json.dumps(repaint(more))};\n"


def plain(sheet: str, theme: Name) -> str:
    """A style sheet with the values of one theme written in, for a page without custom properties around it."""
    return re.sub(r"var\(--desk-([a-z-]+)\)", lambda found: value(found[1], theme), sheet)
