"""What happens on the day: where prices go, what stands out, and the chapters a visitor reads. Data only.

Prices are multiples of the close of the day before; times are New York's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time

from domain.calendars import NEW_YORK

DAY = date(2026, 11, 18)  # a Wednesday, a whole session
OPENS, ENDS = "09:22", "16:02"
SPEED = 60.0
WATCHED = ("AAPL", "TSLA", "NVDA", "MSFT", "SPY", "GOOG", "AMZN")


def moment(hour: str) -> datetime:
    """That time of the day, aware."""
    return datetime.combine(DAY, time.fromisoformat(hour), NEW_YORK)


@dataclass(frozen=True, slots=True)
class Candle:
    """Five minutes of a shape of their own, from `at` on: what a pattern is made of."""

    at: str
    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True, slots=True)
class Path:
    """One symbol's day: `points` the price passes, `rough` its noise a minute in basis points, `silence` from and to
    when nobody trades, `busy` the times around which far more trades than usual."""

    points: tuple[tuple[str, float], ...]
    rough: float = 3.0
    candles: tuple[Candle, ...] = ()
    silence: tuple[str, str] | None = None
    busy: tuple[str, ...] = ()


PATHS = {
    "AAPL": Path(
        (
            ("09:30", 1.0040),
            ("09:50", 1.0005),
            ("10:30", 1.0075),
            ("11:20", 1.0120),
            ("12:15", 1.0090),
            ("13:20", 1.0170),
            ("14:20", 1.0135),
            ("15:25", 1.0230),
            ("16:00", 1.0205),
        ),
        busy=("09:30", "16:00"),
    ),
    "TSLA": Path(
        (
            ("09:30", 0.9985),
            ("10:00", 0.9905),
            ("10:20", 0.9840),
            ("10:30", 0.9870),
            ("11:10", 0.9950),
            ("11:50", 1.0060),
            ("13:00", 1.0010),
            ("14:30", 1.0045),
            ("16:00", 1.0070),
        ),
        rough=4.0,
        candles=(
            Candle("10:10", 0.9872, 0.9874, 0.9855, 0.9857),
            Candle("10:15", 0.9857, 0.9858, 0.9838, 0.9841),
            Candle("10:20", 0.9839, 0.9846, 0.9806, 0.9846),  # the hammer
            Candle("10:25", 0.9846, 0.9872, 0.9844, 0.9870),
        ),
        busy=("09:30", "10:25", "11:45"),
    ),
    "NVDA": Path(
        (
            ("09:30", 0.9790),
            ("09:55", 0.9855),
            ("10:40", 0.9745),
            ("11:09", 0.9720),
            ("11:24", 0.9540),
            ("12:10", 0.9615),
            ("13:40", 0.9580),
            ("16:00", 0.9660),
        ),
        rough=5.0,
        silence=("11:10", "11:24"),
        busy=("09:30", "11:24"),
    ),
    "MSFT": Path(
        (
            ("09:30", 1.0010),
            ("10:10", 1.0030),
            ("10:48", 1.0015),
            ("11:02", 0.9880),
            ("11:40", 0.9925),
            ("13:30", 0.9950),
            ("16:00", 0.9985),
        ),
        busy=("09:30", "11:00"),
    ),
    "SPY": Path(
        (
            ("09:30", 1.0020),
            ("10:30", 1.0045),
            ("12:40", 1.0060),
            ("13:10", 0.9960),
            ("13:38", 0.9850),
            ("14:15", 0.9905),
            ("15:10", 0.9930),
            ("16:00", 0.9945),
        ),
        rough=1.5,
        busy=("09:30", "13:35", "16:00"),
    ),
}


@dataclass(frozen=True, slots=True)
class Chapter:
    """What a visitor is told from `at` on, and where it can be seen."""

    at: str
    title: str
    said: str


CHAPTERS = (
    Chapter(
        "09:22", "Before the open", "Eight minutes to go. Strategies are put to work; prices of the night are thin."
    ),
    Chapter(
        "09:30", "The open", "NVDA opens 2 % lower: a gap, as after news. The engine follows every symbol it needs."
    ),
    Chapter(
        "09:45",
        "A purchase by hand",
        "MSFT is bought at the ticket. The moment it fills, its stop rests: see Positions.",
    ),
    Chapter(
        "10:25", "A pattern", "A hammer on TSLA, 5 minutes, then a rise over it. Point at the mark: its rule is there."
    ),
    Chapter(
        "10:27",
        "Bought on the pattern",
        "A size that risks a tenth of a per cent, the stop under the hammer's low, a target above.",
    ),
    Chapter(
        "10:50", "A stop is hit", "MSFT falls through its stop, which rested at the broker: sold, with nobody's help."
    ),
    Chapter(
        "11:10", "Silence", "Nobody trades NVDA, as in a halt. A price of minutes ago is no price: entries are refused."
    ),
    Chapter("11:24", "It trades again", "NVDA reopens lower. What was refused would have been bought above."),
    Chapter("11:40", "A target is reached", "TSLA meets its target; the stop beside it is cancelled by the same fill."),
    Chapter(
        "12:44", "Much at stake", "A large purchase of SPY, and a daily-loss limit to match: the breaker stands guard."
    ),
    Chapter(
        "13:10", "Near the breaker", "SPY falls. At the limit the breaker stops every entry until a person resets it."
    ),
    Chapter(
        "13:45", "It holds", "The fall ends just before the limit. The bar above and Positions show the day's loss."
    ),
    Chapter(
        "14:30", "The trend goes on", "AAPL climbs, and the strategies trade it: the Bot page says why, bar by bar."
    ),
    Chapter("15:40", "Closing time", "What was bought by hand is closed; the strategies are taken off and closed too."),
    Chapter("15:58", "Two minutes", "Orders that are good for the day end with it."),
    Chapter("16:00", "The close", "The market is shut. The figures of the day stand below; everything stays readable."),
)
