"""The language candlestick rules are written in: measures of a bar, and clauses that hold or not, in words.

A clause is data: it can be tried on a row, told with the numbers it measured, and mirrored from bullish to bearish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]


class Bars(dict[str, list[float]]):
    """Measures of each bar as plain lists, computed when first asked for: scalar reads are what explaining does."""

    def __init__(self, candles: pd.DataFrame) -> None:
        super().__init__()
        self.array = {name: candles[name].to_numpy(dtype=np.float64) for name in ("open", "high", "low", "close")}

    def __missing__(self, measure: str) -> list[float]:
        values: list[float] = self.of(measure).tolist()
        self[measure] = values
        return values

    def of(self, measure: str) -> Array:
        if measure not in self.array:
            self.array[measure] = _MEASURES[measure].compute(self)
        return self.array[measure]


def _mean_before(values: Array, length: int) -> Array:
    """Mean of the `length` bars before each bar: TA-Lib judges a bar by those before it, never by itself."""
    means = np.full(len(values), np.nan)
    if len(values) > length:
        means[length:] = np.lib.stride_tricks.sliding_window_view(values, length)[:-1].sum(axis=1) / length
    return means


@dataclass(frozen=True, slots=True)
class _Measure:
    compute: Callable[[Bars], Array]
    words: str
    is_price: bool = False
    mirror: str = ""  # its counterpart when the pattern is turned upside down
    reach: int = 0


_MEASURES: dict[str, _Measure] = {
    "open": _Measure(lambda b: b.array["open"], "open", True),
    "high": _Measure(lambda b: b.array["high"], "high", True, "low"),
    "low": _Measure(lambda b: b.array["low"], "low", True, "high"),
    "close": _Measure(lambda b: b.array["close"], "close", True),
    "top": _Measure(lambda b: np.maximum(b.of("open"), b.of("close")), "body top", True, "bottom"),
    "bottom": _Measure(lambda b: np.minimum(b.of("open"), b.of("close")), "body bottom", True, "top"),
    "middle": _Measure(lambda b: b.of("low") + b.of("range") / 2.0, "middle of the range", True),
    "body": _Measure(lambda b: np.abs(b.of("close") - b.of("open")), "body"),
    "upper": _Measure(lambda b: b.of("high") - b.of("top"), "upper shadow", mirror="lower"),
    "lower": _Measure(lambda b: b.of("bottom") - b.of("low"), "lower shadow", mirror="upper"),
    "range": _Measure(lambda b: b.of("high") - b.of("low"), "range"),
    "shadows": _Measure(lambda b: b.of("upper") + b.of("lower"), "both shadows"),
    # TA-Lib's candle settings: the yardsticks
    "usual_body": _Measure(lambda b: _mean_before(b.of("body"), 10), "its 10-bar average", reach=10),
    "tiny": _Measure(lambda b: 0.1 * _mean_before(b.of("range"), 10), "a tenth of the 10-bar average range", reach=10),
    "usual_shadow": _Measure(lambda b: _mean_before(b.of("shadows"), 10) / 2.0, "the 10-bar average shadow", reach=10),
    "near": _Measure(lambda b: 0.2 * _mean_before(b.of("range"), 5), "a fifth of the 5-bar average range", reach=5),
    "far": _Measure(lambda b: 0.6 * _mean_before(b.of("range"), 5), "0.6 of the 5-bar average range", reach=5),
    "equal": _Measure(
        lambda b: 0.05 * _mean_before(b.of("range"), 5), "a twentieth of the 5-bar average range", reach=5
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One measure of one bar, `bar` bars back, times a factor, plus other terms."""

    measure: str
    bar: int
    factor: float = 1.0
    parts: tuple[Term, ...] = ()

    def value(self, bars: Bars, row: int) -> float:
        found = self.factor * bars[self.measure][row - self.bar]
        for part in self.parts:
            found += part.value(bars, row)
        return found

    def mirror(self) -> Term:
        measure = _MEASURES[self.measure]
        flip = -1.0 if _MEASURES[self.measure].is_price else 1.0
        parts = tuple(replace(part.mirror(), factor=flip * part.factor) for part in self.parts)
        return replace(self, measure=measure.mirror or self.measure, parts=parts)

    def reach(self) -> int:
        return max(self.bar + _MEASURES[self.measure].reach, *(part.reach() for part in self.parts), 0)

    def words(self, n: int) -> str:
        said = _bar_words(self, n)
        for part in self.parts:
            size = f"{abs(part.factor):g} of " if abs(part.factor) != 1 else ""
            said += f" {'plus' if part.factor > 0 else 'less'} {size}{_bar_words(part, n)}"
        return said

    def __add__(self, other: Term) -> Term:
        return replace(self, parts=(*self.parts, other))

    def __sub__(self, other: Term) -> Term:
        return self + replace(other, factor=-other.factor)

    def __mul__(self, factor: float) -> Term:
        return replace(self, factor=self.factor * factor)

    def __lt__(self, other: Term) -> Compare:
        return Compare(self, "<", other)

    def __le__(self, other: Term) -> Compare:
        return Compare(self, "<=", other)

    def __gt__(self, other: Term) -> Compare:
        return Compare(self, ">", other)

    def __ge__(self, other: Term) -> Compare:
        return Compare(self, ">=", other)


_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_YARDSTICKS = {"usual_body", "tiny", "usual_shadow", "near", "far", "equal"}


def _which(bar: int, n: int) -> str:
    """How the sentence calls the bar `bar` bars back in a pattern of n: nothing, "second", or "before"."""
    if bar >= n:
        return "before"
    return "" if n == 1 else _ORDINALS[n - 1 - bar]


def _bar_words(term: Term, n: int) -> str:
    words, which = _MEASURES[term.measure].words, _which(term.bar, n)
    if term.measure in _YARDSTICKS or not which:
        return words
    return f"{words} before" if which == "before" else f"{which} {words}"


def _number(value: float, digits: int = 4) -> str:
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{value:.0f}" if abs(value) >= 1 else f"{value:.10f}".rstrip("0")
    return text


def _pair(left: float, right: float, digits: int) -> tuple[str, str, bool]:
    """Both numbers, with digits enough to tell them apart, and whether they are equal but for rounding."""
    for more in (digits, digits + 3, digits + 6):
        said = _number(left, more), _number(right, more)
        if said[0] != said[1]:
            return *said, False
    return _number(left, digits), _number(right, digits), True


class Clause:
    """One thing a pattern asks of its bars."""

    def holds(self, bars: Bars, row: int) -> bool:
        raise NotImplementedError

    def text(self, bars: Bars, row: int, n: int, held: bool = True) -> str:
        raise NotImplementedError

    def mirror(self) -> Clause:
        raise NotImplementedError

    def reach(self) -> int:
        raise NotImplementedError


_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_WORDS = {"<": "below", "<=": "at most", ">": "above", ">=": "at least"}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_GAPS = {("bottom", "top"): "body", ("top", "bottom"): "body", ("low", "high"): "bar", ("high", "low"): "bar"}


@dataclass(frozen=True, slots=True, eq=False)
class Compare(Clause):
    left: Term
    op: str
    right: Term

    def holds(self, bars: Bars, row: int) -> bool:
        return _HOLDS[self.op](self.left.value(bars, row), self.right.value(bars, row))

    def mirror(self) -> Compare:
        op = _FLIPPED[self.op] if _MEASURES[self.left.measure].is_price else self.op
        return Compare(self.left.mirror(), op, self.right.mirror())

    def reach(self) -> int:
        return max(self.left.reach(), self.right.reach())

    def text(self, bars: Bars, row: int, n: int, held: bool = True) -> str:
        left, right = self.left.value(bars, row), self.right.value(bars, row)
        kinds = self.left.measure, self.right.measure
        if held and kinds[1] == "body" and not self.right.parts:
            return self._ratio(left, bars["body"][row - self.right.bar], n)
        if held and kinds in _GAPS and self.op in "<>":
            return self._gap(left, right, n)
        if kinds[0] in ("upper", "lower") and kinds[1] == "tiny":
            return self._share(left, right, bars["range"][row - self.left.bar], n, held)
        is_price = _MEASURES[kinds[0]].is_price
        said_left, said_right, level = _pair(left, right, 7 if is_price else 4)
        name = _bar_words(self.left, n)
        if kinds[0] == "body" and n > 1 and left > 0:
            name = f"{_colour(bars, row - self.left.bar)} {name}"
        relation = f"is {'' if held else 'not '}{_WORDS[self.op]}"
        if held and level:
            relation = "is level with"
        yardstick = self.right.words(n)
        if self.right.parts or kinds[1] in ("tiny", "near", "far", "equal"):
            return f"{name} {said_left} {relation} {said_right} ({yardstick})"
        return f"{name} {said_left} {relation} {yardstick} {said_right}"

    def _ratio(self, left: float, body: float, n: int) -> str:
        name, other = _bar_words(self.left, n), "the body" if self.left.measure != "body" else "the first"
        if self.left.measure == "body":
            other = f"the {_which(self.right.bar, n)}"
        if body == 0:
            return f"{name} {_number(left)} on a body of 0"
        ratio = left / body
        return f"{name} {ratio:.1f} times {other}" if ratio < 100 else f"{name} {ratio:.0f} times {other}"

    def _gap(self, left: float, right: float, n: int) -> str:
        part = _GAPS[self.left.measure, self.right.measure]
        side = "above" if left > right else "below"
        which, other = _which(self.left.bar, n), _which(self.right.bar, n)
        name, other = f"{which} {part}".strip(), f"{part} before" if other == "before" else other
        return (
            f"{name} gaps {_number(abs(left - right))} {side} the {other} ({_number(right, 7)} to {_number(left, 7)})"
        )

    def _share(self, shadow: float, limit: float, whole: float, n: int, held: bool) -> str:
        name = _bar_words(self.left, n)
        share = 100 * shadow / whole if whole > 0 else 0.0
        percent = f"{share:.0f}" if share >= 1 or share == 0 else f"{share:.1g}"
        said, bound, _ = _pair(shadow, limit, 4)
        rule = f"limit {bound}" if self.op == "<" else f"needs more than {bound}"
        lead = f"{percent} % of {'the' if n == 1 else 'its'} range ({said}, {rule})"
        return f"{name} {lead}" if held else f"{name} {lead} is {'too long' if self.op == '<' else 'too short'}"


@dataclass(frozen=True, slots=True, eq=False)
class Colour(Clause):
    """White is a close at or above the open, black one below it."""

    bar: int
    white: bool

    def holds(self, bars: Bars, row: int) -> bool:
        return (bars["close"][row - self.bar] >= bars["open"][row - self.bar]) is self.white

    def mirror(self) -> Colour:
        return Colour(self.bar, not self.white)

    def reach(self) -> int:
        return self.bar

    def text(self, bars: Bars, row: int, n: int, held: bool = True) -> str:
        at, which = row - self.bar, _which(self.bar, n)
        name = "the bar before" if which == "before" else f"{which} bar".strip()
        numbers = f"open {_number(bars['open'][at], 7)}, close {_number(bars['close'][at], 7)}"
        return f"{name} is {'' if held else 'not '}{'white' if self.white else 'black'} ({numbers})"


@dataclass(frozen=True, slots=True, eq=False)
class Within(Clause):
    """Two terms lie no further apart than a third."""

    left: Term
    right: Term
    limit: Term

    def holds(self, bars: Bars, row: int) -> bool:
        left, right, limit = (term.value(bars, row) for term in (self.left, self.right, self.limit))
        return right - limit <= left <= right + limit

    def mirror(self) -> Within:
        return Within(self.left.mirror(), self.right.mirror(), self.limit.mirror())

    def reach(self) -> int:
        return max(self.left.reach(), self.right.reach(), self.limit.reach())

    def text(self, bars: Bars, row: int, n: int, held: bool = True) -> str:
        left, right, limit = (term.value(bars, row) for term in (self.left, self.right, self.limit))
        names = f"{self.left.words(n)} {_number(left, 7)}", f"{self.right.words(n)} {_number(right, 7)}"
        apart = _number(abs(left - right), 3)
        relation = "is level with" if apart == "0" else f"is {apart} from"
        limit_words = f"{'within' if held else 'beyond'} {_number(limit)} ({self.limit.words(n)})"
        return f"{names[0]} {relation} {names[1]}, {limit_words}"


@dataclass(frozen=True, slots=True, eq=False)
class Either(Clause):
    """One of several groups of clauses is enough; the text is that of the first that holds."""

    groups: tuple[tuple[Clause, ...], ...]

    def holds(self, bars: Bars, row: int) -> bool:
        return any(all(clause.holds(bars, row) for clause in group) for group in self.groups)

    def mirror(self) -> Either:
        return Either(tuple(tuple(clause.mirror() for clause in group) for group in self.groups))

    def reach(self) -> int:
        return max(clause.reach() for group in self.groups for clause in group)

    def text(self, bars: Bars, row: int, n: int, held: bool = True) -> str:
        if not held:
            return " and ".join(self._first_lacking(group, bars, row, n) for group in self.groups)
        found = (group for group in self.groups if all(clause.holds(bars, row) for clause in group))
        return ", ".join(clause.text(bars, row, n) for clause in next(found, self.groups[0]))

    @staticmethod
    def _first_lacking(group: tuple[Clause, ...], bars: Bars, row: int, n: int) -> str:
        lacking = (clause for clause in group if not clause.holds(bars, row))
        return next(lacking, group[0]).text(bars, row, n, held=False)


@dataclass(frozen=True, slots=True, eq=False)
class Confirmed(Clause):
    """A Hikkake set up one to three bars ago whose inside bar the close now leaves on the promised side."""

    setup: tuple[Clause, ...]

    def _setup_row(self, bars: Bars, row: int) -> int | None:
        turned = tuple(clause.mirror() for clause in self.setup)
        if all_hold(self.setup, bars, row) or all_hold(turned, bars, row):
            return None
        for start in range(row - 1, max(row - 4, self.reach() - 4), -1):
            if all_hold(turned, bars, start):
                return None
            if all_hold(self.setup, bars, start):
                return None if any(self._leaves(bars, start, at) for at in range(start + 1, row)) else start
        return None

    def _leaves(self, bars: Bars, start: int, row: int) -> bool:
        return self._exit(start, row).holds(bars, row)

    def _exit(self, start: int, row: int) -> Compare:
        inside, bullish = row - start + 1, _is_bullish(self.setup)
        return close[0] > high[inside] if bullish else close[0] < low[inside]

    def holds(self, bars: Bars, row: int) -> bool:
        start = self._setup_row(bars, row)
        return start is not None and self._leaves(bars, start, row)

    def mirror(self) -> Confirmed:
        return Confirmed(tuple(clause.mirror() for clause in self.setup))

    def reach(self) -> int:
        return max(clause.reach() for clause in self.setup) + 4

    def text(self, bars: Bars, row: int, n: int, held: bool = True) -> str:
        start = self._setup_row(bars, row)
        if start is None:
            return f"no set-up of the last 3 bars waits for the close {_number(bars['close'][row], 7)} to confirm it"
        rule, ago = self._exit(start, row), row - start
        edge = _number(rule.right.value(bars, row), 7)
        relation = f"is {'' if held else 'not '}{_WORDS[rule.op]}"
        side = "high" if rule.op == ">" else "low"
        close_now = _number(bars["close"][row], 7)
        set_up = f"the set-up of {ago} bar{'s' * (ago > 1)} ago"
        purpose = "confirming" if held else "against"
        return f"close {close_now} {relation} the inside bar's {side} {edge}, {purpose} {set_up}"


def _is_bullish(setup: tuple[Clause, ...]) -> bool:
    """A Hikkake is bullish when its last bar breaks down: lower high, lower low."""
    return any(isinstance(c, Compare) and (c.left.measure, c.left.bar, c.op) == ("high", 0, "<") for c in setup)


def all_hold(clauses: Iterable[Clause], bars: Bars, row: int) -> bool:
    return all(clause.holds(bars, row) for clause in clauses)


def _colour(bars: Bars, row: int) -> str:
    return "white" if bars["close"][row] >= bars["open"][row] else "black"


class _Of:
    """`body[1]` is the body of the bar before the last."""

    def __init__(self, measure: str) -> None:
        self.measure = measure

    def __getitem__(self, bar: int) -> Term:
        return Term(self.measure, bar)


open_, high, low, close = _Of("open"), _Of("high"), _Of("low"), _Of("close")
top, bottom, middle = _Of("top"), _Of("bottom"), _Of("middle")
body, upper, lower = _Of("body"), _Of("upper"), _Of("lower")
usual_body, usual_shadow, tiny = _Of("usual_body"), _Of("usual_shadow"), _Of("tiny")
near, far, equal = _Of("near"), _Of("far"), _Of("equal")


def white(*which: int) -> tuple[Clause, ...]:
    return tuple(Colour(bar, True) for bar in which)


def black(*which: int) -> tuple[Clause, ...]:
    return tuple(Colour(bar, False) for bar in which)


def long(bar: int) -> Compare:
    return body[bar] > usual_body[bar]


def short(bar: int) -> Compare:
    return body[bar] <= usual_body[bar]


def shorter(bar: int) -> Compare:
    return body[bar] < usual_body[bar]


def doji(bar: int) -> Compare:
    return body[bar] <= tiny[bar]


def bare(*shadows: Term) -> tuple[Clause, ...]:
    return tuple(shadow < tiny[shadow.bar] for shadow in shadows)


def either(*groups: Iterable[Clause]) -> Either:
    return Either(tuple(tuple(group) for group in groups))
