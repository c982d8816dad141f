"""How up and down are told apart by colour, and the colours that figures are drawn in (see `ui.theme`).

Never by colour alone: a sign, an arrow or a hollow candle says it too.
"""

from __future__ import annotations

from dataclasses import dataclass

from ui import theme
from ui.theme import Ink, faded

__all__ = [
    "DEFAULT",
    "GAIN",
    "GRID",
    "GROUND",
    "HOLLOW",
    "INKS",
    "LINES",
    "LOSS",
    "MARK",
    "MUTED",
    "PALETTES",
    "SEAL",
    "SHADE",
    "TEXT",
    "Palette",
    "Worn",
    "faded",
]

GROUND = theme.value("plot")
GRID = faded(theme.value("grid"), 0.14)
TEXT = theme.value("soft")
MUTED = theme.value("muted")
SHADE = faded(theme.value("shade"), 0.10)
LINES = tuple(ink.dark for ink in theme.LINES)
MARK = theme.value("mark")
SEAL = theme.value("seal")
HOLLOW = "rgba(0,0,0,0)"


@dataclass(frozen=True, slots=True)
class Palette:
    """How up and down are told apart; never by colour alone: signs and shapes say it too."""

    label: str
    rising: Ink
    falling: Ink

    @property
    def up(self) -> str:
        """As figures are drawn: the value of the dark theme."""
        return self.rising.dark

    @property
    def down(self) -> str:
        """As figures are drawn: the value of the dark theme."""
        return self.falling.dark

    def worn(self, name: theme.Name) -> Worn:
        """Its colours in one theme, for where no browser repaints: the cells of a table."""
        return Worn(self.rising.on(name), self.falling.on(name))


@dataclass(frozen=True, slots=True)
class Worn:
    """Up and down as one reader sees them."""

    up: str
    down: str


BLUE, ORANGE = Ink("#63aeff", "#1a5fd0"), Ink("#ff9f45", "#a94700")
GREEN, RED = Ink("#3fcf95", "#0f7a50"), Ink("#ff6b74", "#c0233a")
PALETTES: dict[str, Palette] = {
    "blue-orange": Palette("Blue up, orange down (told apart by every eye)", BLUE, ORANGE),
    "orange-blue": Palette("Orange up, blue down", ORANGE, BLUE),
    "green-red": Palette("Green up, red down (one man in twelve sees little difference)", GREEN, RED),
    "red-green": Palette("Red up, green down (as in East Asia; the same warning)", RED, GREEN),
}
DEFAULT = "blue-orange"
GAIN, LOSS = BLUE.dark, ORANGE.dark  # where the chosen palette does not reach: bars of a study and its kept report
INKS = (BLUE, ORANGE, GREEN, RED)
