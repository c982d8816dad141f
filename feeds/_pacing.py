"""How many symbols go into one call, how long until the next, and how long what failed is left in peace.

The rule: what failed rests by itself. The others are asked for as before, and what it was is named with its symbols.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from domain.clock import monotonic
from feeds.base import Asked, Pace

FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0
LONGEST_FIRST_S = 10.0  # what is held, or has an order resting, is never left alone for longer
LONGEST_BUSY_S = 3_600.0
NAMED = 3

Ticks = Callable[[], float]
Jitter = Callable[[], float]


def batch_size(wanted: int, pace: Pace, chosen: int | None) -> int:
    """Symbols in a call: what was chosen, as far as the source takes it; else what suits the source.

    >>> etrade = Pace(usual=25, wide=50, most=50, a_second=3)
    >>> [batch_size(n, etrade, None) for n in (31, 75, 76)], batch_size(31, etrade, 10), batch_size(31, etrade, 99)
    ([25, 25, 50], 10, 50)
    """
    if pace.at_hand:
        return max(wanted, 1)
    if chosen is not None:
        return min(chosen, pace.most)
    enough = pace.a_second is None or wanted <= pace.usual * pace.a_second
    return pace.usual if enough or not pace.wide else pace.wide


def pause_s(pace: Pace, chosen: float | None) -> float:
    """Seconds from the begin of one call to the next: what was chosen, never less than the source's limit asks for."""
    if pace.at_hand:
        return 0.0
    return max(chosen or 0.0, 1.0 / pace.a_second if pace.a_second else 0.0)


def jitter() -> float:
    """What a rest is multiplied by, so that not all end at once."""
    return random.uniform(0.75, 1.0)  # noqa: S311 - spreads retries, guards nothing


def grown(tries: int, longest: float = LONGEST_REST_S) -> float:
    """1, 2, 4 … seconds, `longest` at most."""
    return min(FIRST_REST_S * 2.0 ** min(tries - 1, 16), longest)


def named(symbols: Collection[str]) -> str:
    """Some symbols as a sentence names them: AAPL, KO, MSFT and 7 more."""
    few = sorted(symbols)
    more = f" and {len(few) - NAMED} more" if len(few) > NAMED else ""
    return ", ".join(few[:NAMED]) + more


@dataclass(slots=True)
class Rest:
    """Symbols whose call failed, `tries` times in a row since `since`, and until when they are not asked for."""

    symbols: list[str]
    said: str
    until: float
    since: float
    tries: int = 1


class Rests:
    """What rests now. `ticks` and `chance` own time and luck."""

    def __init__(self, ticks: Ticks = monotonic, chance: Jitter = jitter) -> None:
        self._ticks, self._chance = ticks, chance
        self._rests: list[Rest] = []
        self._went_well = float("-inf")
        self._strikes = 0
        self.busy_until, self.busy_said = float("-inf"), ""

    def failed(self, symbols: list[str], said: str, *, first: bool = False, at_hand: bool = False) -> None:
        """Their call failed: they rest, each time for longer. Where others were answered meanwhile, one of them may be
        what is wrong: the next tries are of halves."""
        now = self._ticks()
        before = next((rest for rest in self._rests if set(rest.symbols) & set(symbols)), None)
        tries, since = (before.tries + 1, before.since) if before and not at_hand else (1, now)
        self._drop(symbols)
        wait_s = 0.0 if at_hand else grown(tries, LONGEST_FIRST_S if first else LONGEST_REST_S) * self._chance()
        cut = len(symbols) // 2 if before and self._went_well > since else 0
        parts = [symbols[:cut], symbols[cut:]] if cut else [symbols]
        self._rests += [Rest(part, said, now + wait_s, since, tries) for part in parts]

    def went_well(self, symbols: Iterable[str]) -> None:
        """They were answered. What failed again and again since the last answer, with the whole source, is asked at
        once."""
        now, last = self._ticks(), self._went_well
        self._drop(symbols)
        for rest in self._rests:
            if rest.tries > 1 and rest.since >= last:
                rest.until = min(rest.until, now)
        self._went_well, self._strikes, self.busy_said = now, 0, ""

    def refused(self, said: str, wait_s: float | None) -> None:
        """The source was asked too often: nobody asks it for `wait_s`, else for 1, 2, 4 … seconds."""
        self._strikes += 1
        wait_s = grown(self._strikes) if wait_s is None else min(max(wait_s, 0.0), LONGEST_BUSY_S)
        self.busy_until, self.busy_said = max(self.busy_until, self._ticks() + wait_s), said

    def due(self) -> list[Rest]:
        """What has rested long enough, the longest first."""
        now = self._ticks()
        return sorted((rest for rest in self._rests if rest.until <= now), key=lambda rest: rest.until)

    def all(self) -> list[Rest]:
        return list(self._rests)

    def symbols(self) -> set[str]:
        return {symbol for rest in self._rests for symbol in rest.symbols}

    def hurry(self) -> None:
        """Somebody wants to know now: every rest is over, but not what the source itself asked for."""
        for rest in self._rests:
            rest.until = min(rest.until, self._ticks())

    def keep(self, wanted: Collection[str]) -> None:
        """Forget what nobody wants any more."""
        self._drop(self.symbols() - set(wanted))

    def said(self, wanted: Collection[str]) -> str:
        """What is wrong, in sentences: each with its symbols, where others of the wanted ones are answered."""
        if self.busy_said and self._ticks() < self.busy_until:
            return self.busy_said
        by_words: dict[str, list[str]] = {}
        for rest in self.all():
            by_words.setdefault(rest.said, []).extend(rest.symbols)
        if len(by_words) == 1 and set(wanted) <= self.symbols():
            return next(iter(by_words))
        return " · ".join(f"{named(symbols)}: {said}" for said, symbols in by_words.items())

    def _drop(self, symbols: Iterable[str]) -> None:
        gone = set(symbols)
        for rest in self._rests:
            rest.symbols = [symbol for symbol in rest.symbols if symbol not in gone]
        self._rests = [rest for rest in self._rests if rest.symbols]


@dataclass(slots=True)
class _Venue:
    """What the venue itself said of its limit, until its window ends."""

    limit: int | None
    left: int
    until: float


@dataclass(slots=True)
class Calls:
    """How often a source was asked, for `Feed.usage`. Safe to read from any thread."""

    window_s: float = 3_600.0
    ticks: Ticks = monotonic
    _made: deque[list[float]] = field(default_factory=deque)  # [second, calls in it]
    _used: int = 0
    _venue: _Venue | None = None
    _refusals: int = 0
    _refused: float = 0.0
    _not_before: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def made(self, calls: int = 1) -> None:
        with self._lock:
            second = self.ticks() // 1
            if not self._made or self._made[-1][0] != second:
                self._made.append([second, 0])
            self._made[-1][1] += calls
            self._used += calls
            self._forget()

    def refused(self, wait_s: float | None = None) -> None:
        """It said that it was asked too often."""
        with self._lock:
            self._refusals, self._refused = self._refusals + 1, self.ticks()
            self._not_before = max(self._not_before, self._refused + (wait_s or 0.0))

    def heard(self, headers: Mapping[str, str], now_s: float) -> None:
        """Take what an answer's headers say of the limit: `X-RateLimit-Limit`, `-Remaining` and `-Reset`, with or
        without the X; the reset in seconds, or as a moment since 1970 that `now_s` is compared with."""
        left, limit, reset = (_number(headers, name) for name in ("Remaining", "Limit", "Reset"))
        if left is None:
            return
        lasts = self.window_s if reset is None else reset - now_s if reset > 1e9 else reset
        with self._lock:
            self._venue = _Venue(None if limit is None else int(limit), int(left), self.ticks() + max(lasts, 0.0))

    def told(self) -> Asked:
        with self._lock:
            self._forget()
            now = self.ticks()
            venue = self._venue if self._venue and now < self._venue.until else None
            ago = now - self._refused if self._refusals else None
            waits = max(0.0, self._not_before - now)
            limit, left = (venue.limit, venue.left) if venue else (None, None)
            return Asked(self._used, self.window_s, limit, left, venue is not None, self._refusals, ago, waits)

    def _forget(self) -> None:
        while self._made and self._made[0][0] + 1 <= self.ticks() - self.window_s:
            self._used -= int(self._made.popleft()[1])


def _number(headers: Mapping[str, str], name: str) -> float | None:
    for spelled in (f"X-RateLimit-{name}", f"RateLimit-{name}"):
        try:
            return float(headers[spelled])
        except (KeyError, ValueError):
            continue
    return None
