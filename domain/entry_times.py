"""When entries may go, as a person writes it: windows of the day and blackouts, both in New York time.

    windows("09:45-11:30, 13:00-15:45")
    blackouts("2026-12-09 13:30/14:30 FOMC; 2026-12-18 * triple witching; NVDA 2026-11-25 earnings")

The rule: what is not understood whole is refused with a ValueError that names the part, the rule and the cure. A span
holds its first minute and not its last.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import date, datetime

from domain.calendars import NEW_YORK
from domain.errors import DataError
from domain.instruments import instrument

MOST_WINDOWS, MOST_BLACKOUTS, LONGEST_REASON = 20, 200, 80
_DAY_MINUTES = 24 * 60
_CLOCK = r"([0-9]{2}):([0-9]{2})"
_WINDOW, _SPAN = re.compile(rf"{_CLOCK} ?- ?{_CLOCK}"), re.compile(rf"{_CLOCK}/{_CLOCK}")
_DAYS = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:/([0-9]{4}-[0-9]{2}-[0-9]{2}))?")
_LIKE_A_DAY, _LIKE_A_TIME = re.compile(r"[0-9]{4}[-./]"), re.compile(r"[0-9]{1,2}[:.h][0-9]{2}")
_HOW = "write it as 2026-12-09 13:30/14:30 FOMC, as 2026-12-18 * triple witching, or as NVDA 2026-11-25 earnings"


@dataclass(frozen=True, slots=True)
class Window:
    """A part of every day, in minutes after midnight."""

    start: int
    end: int

    def holds(self, local: datetime) -> bool:
        """Whether a moment of New York time lies within it."""
        return self.start <= _minute(local) < self.end

    def __str__(self) -> str:
        return f"{_hour(self.start)}-{_hour(self.end)}"


WHOLE_DAY = Window(0, _DAY_MINUTES)


@dataclass(frozen=True, slots=True)
class Blackout:
    """The same `hours` of every day from `first` to `last`; of `symbols`, or of all where none is named."""

    first: date
    last: date
    hours: Window
    symbols: tuple[str, ...]
    reason: str

    def covers(self, symbol: str, local: datetime) -> bool:
        """Whether the symbol is left alone at a moment of New York time."""
        meant = not self.symbols or symbol in self.symbols
        return meant and self.first <= local.date() <= self.last and self.hours.holds(local)

    def ends(self) -> str:
        """Its end in words."""
        return f"{self.last} {_hour(self.hours.end)} New York"


def local(moment: datetime) -> datetime:
    """The moment as New York's clocks show it."""
    return moment.astimezone(NEW_YORK)


@functools.lru_cache(maxsize=64)
def windows(text: str) -> tuple[Window, ...]:
    """The windows that `text` names, in their order; none for a blank text."""
    parts = _parts(text, r"[,;\n]", "entry_windows", MOST_WINDOWS)
    found = tuple(_window(number, part) for number, part in enumerate(parts, 1))
    for number, one in enumerate(found, 1):
        for other in found[number:]:
            if one.start < other.end and other.start < one.end:
                raise ValueError(f"entry_windows: {one} and {other} overlap: join them into one")
    return found


@functools.lru_cache(maxsize=64)
def blackouts(text: str) -> tuple[Blackout, ...]:
    """The blackouts that `text` names, one a line or parted by `;`; none for a blank text."""
    parts = _parts(text, r"[;\n]", "blackouts", MOST_BLACKOUTS)
    return tuple(_blackout(number, part) for number, part in enumerate(parts, 1))


def _parts(text: str, between: str, name: str, most: int) -> list[str]:
    parts = [part.strip() for part in re.split(between, text.strip())] if text.strip() else []
    if "" in parts:
        raise ValueError(f"{name}: entry {parts.index('') + 1} is empty: take the mark before it away")
    if len(parts) > most:
        raise ValueError(f"{name}: at most {most} entries may stand there, these are {len(parts)}: take old ones away")
    return parts


def _window(number: int, part: str) -> Window:
    where = f"entry_windows, entry {number}, {part!r}"
    if not (found := _WINDOW.fullmatch(part)):
        raise ValueError(f"{where}: a window is two times of New York: write it as 09:45-11:30")
    return _between(where, found, "write two, 22:00-24:00 and 00:00-02:00")


def _blackout(number: int, part: str) -> Blackout:
    where, words = f"blackouts, entry {number}, {part!r}", part.split()
    symbols = () if _LIKE_A_DAY.match(words[0]) else _symbols(where, words.pop(0))
    first, last = _days(where, words.pop(0) if words else "")
    hours = _hours(where, words, one_day=first == last)
    reason = " ".join(words)
    if not (0 < len(reason) <= LONGEST_REASON and reason.isprintable()):
        raise ValueError(f"{where}: a reason of up to {LONGEST_REASON} letters stands at the end: {_HOW}")
    return Blackout(first, last, hours, symbols, reason)


def _symbols(where: str, word: str) -> tuple[str, ...]:
    if word == "*":
        return ()
    found = tuple(word.split(","))
    for symbol in found:
        if not _is_symbol(symbol):
            raise ValueError(f"{where}: {symbol!r} is neither a day nor a symbol, such as NVDA: {_HOW}")
    return found


def _is_symbol(text: str) -> bool:
    try:
        return instrument(text).symbol == text
    except DataError:
        return False


def _days(where: str, word: str) -> tuple[date, date]:
    found = _DAYS.fullmatch(word)
    try:
        first, last = (date.fromisoformat(day) for day in (found[1], found[2] or found[1])) if found else (None, None)
    except ValueError:
        raise ValueError(f"{where}: {word} is not in the calendar: look at the month and the day") from None
    if first is None or last is None:
        raise ValueError(f"{where}: {word!r} is no day: {_HOW}; for several days 2026-12-24/2026-12-26")
    if last < first:
        raise ValueError(f"{where}: {last} lies before {first}: turn the days round")
    return first, last


def _hours(where: str, words: list[str], *, one_day: bool) -> Window:
    """The hours that stand first among the words, taken from them; the whole day where none do."""
    if words and words[0] == "*":
        words.pop(0)
        return WHOLE_DAY
    if not words or not _LIKE_A_TIME.match(words[0]):
        return WHOLE_DAY
    word = words.pop(0)
    if not (found := _SPAN.fullmatch(word)):
        raise ValueError(f"{where}: {word!r} is no span of hours: write it as 13:30/14:30, or * for the whole day")
    if not one_day:
        raise ValueError(f"{where}: hours belong to one day: write one entry for each day, or take the hours away")
    return _between(where, found, "write one entry for each day")


def _between(where: str, found: re.Match[str], over_midnight: str) -> Window:
    hours = [int(part) for part in found.groups()]
    times = [60 * hours[at] + hours[at + 1] for at in (0, 2)]
    if max(hours[1], hours[3]) > 59 or max(times) > _DAY_MINUTES:
        raise ValueError(f"{where}: a time lies from 00:00 to 24:00, with minutes up to 59: correct it")
    if times[0] >= times[1]:
        raise ValueError(f"{where}: it must end after it begins; over midnight {over_midnight}")
    return Window(times[0], times[1])


def _minute(local: datetime) -> int:
    return 60 * local.hour + local.minute


def _hour(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
