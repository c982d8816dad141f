"""The steps to a first trade in words, and which of them have truly happened. It knows nothing of Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from desk.first_trade import FirstTrade
from domain.calendars import NEW_YORK


@dataclass(frozen=True, slots=True)
class Way:
    """A button of the guide: what it says and where it leads, a page or a `place` on the dashboard."""

    label: str
    place: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name, one sentence, and the ways there."""

    name: str
    said: str
    ways: tuple[Way, ...]


PATTERNS, ORDERS = "Patterns on this chart", "Orders of the day"  # tabs of the dashboard
FILL, TICKET, RUN = "fill", "ticket", "run"
READ = Step(
    "Read a pattern",
    "Each mark on the chart is a pattern: point at one and read which rule made it fire. The list has them all.",
    (Way("Open the patterns", PATTERNS),),
)
PREVIEW = Step(
    "Look at a preview",
    "A size that risks a quarter of a per cent, and a stop. Then press Preview in the ticket: nothing is sent by it.",
    (Way("Fill the ticket", FILL),),
)
PLACE = Step(
    "Place it, with its stop",
    "Read the cost and what is lost at the stop, then press Place. A preview holds for a minute; ask again freely.",
    (Way("Go to the ticket", TICKET),),
)
REST = Step(
    "See the stop rest",
    "Once the order fills, its stop rests at the broker: a line on the chart, and a row among the orders.",
    (Way("Show the orders", ORDERS),),
)
CLOSE = Step(
    "Close it, or let it run",
    "Close it among the positions, or let it run: the stop keeps resting, whatever happens to this page.",
    (Way("Open Positions", "pages/positions.py"), Way("Let it run", RUN)),
)
STEPS = (READ, PREVIEW, PLACE, REST, CLOSE)
ENDS = Step(
    "Where to go from here",
    "That was the whole way of an order. Next: try a rule on the past, let one trade on paper, or be told of things.",
    (
        Way("Backtest", "pages/backtest.py"),
        Way("The bot", "pages/bot.py"),
        Way("Alerts", "pages/alerts.py"),
    ),
)
LOOKS_ON = Step(
    "You look on",
    "Charts, patterns, positions and what the bot does are yours to read; orders are placed by traders and owners.",
    (
        Way("Patterns", PATTERNS),
        Way("Positions", "pages/positions.py"),
        Way("The bot", "pages/bot.py"),
    ),
)


@dataclass(frozen=True, slots=True)
class Progress:
    """Which steps have happened, and the step that is next; `ENDS` once all have."""

    done: tuple[bool, ...]

    @property
    def next(self) -> Step:
        return next((step for step, done in zip(STEPS, self.done, strict=True) if not done), ENDS)


def progress(facts: FirstTrade, *, read: bool, runs: bool, now: datetime) -> Progress:
    """`read`: a pattern was shown to them; `runs`: they said to let it run. A wish alone ticks nothing: the position
    must stand under a stop that rests, or have come through the night."""
    stands = facts.held_since is not None
    nights = stands and _day(now) > _day(facts.held_since or now)
    ended = facts.closed or (stands and facts.rests and (runs or nights))
    return Progress((read, facts.previewed or facts.placed, facts.placed, facts.rested, facts.rested and ended))


def _day(moment: datetime) -> str:
    return moment.astimezone(NEW_YORK).date().isoformat()
