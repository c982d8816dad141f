"""Candlestick patterns: a frame in, marks and their reasons out.

TA-Lib decides what fired; the rule table below says why, with the numbers it measured. The two are held together by
a test: over random candles each pattern's rules are true exactly where TA-Lib fires.

    grades = detect(candles, ["Hammer", "Bullish Engulfing"])     # one column a pattern, 0 where nothing fired
    print(explain(candles, "hammer"))                             # the last bar
    # Hammer: lower shadow 2.6 times the body, ..., after a fall of 1.8 % over 10 bars.

A grade is TA-Lib's signed int: above 0 bullish, below 0 bearish (for Spinning Top, Short Line and High Wave just the
bar's colour; dojis are always +100). Engulfing and the haramis give 80 where one edge only touches, Hikkake 200 when
its set-up is confirmed.

Names: TA-Lib's (`CDLHAMMER`, `hammer`), ours (`Three White Soldiers`), or one side of a pattern that has two
(`Bullish Engulfing`, `Falling Three Methods`: the other side counts as 0). Case and separators do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from domain.errors import DataError, UnknownName

try:
    import talib as _talib
except ImportError:
    _talib = None  # type: ignore[assignment]

Bias = Literal["bullish", "bearish", "both", "neutral"]
Array = np.ndarray[Any, np.dtype[Any]]
TREND = 10  # bars before the pattern that the sentence looks back on
_THREADS_FROM = 50_000  # rows from which two threads pay: TA-Lib lets go of the GIL
_WINDOW = 80  # rows that any one explanation can look back on, with room to spare


# Measures of a bar, and the clauses made of them


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
        if _all(self.setup, bars, row) or _all(turned, bars, row):
            return None
        for start in range(row - 1, max(row - 4, self.reach() - 4), -1):
            if _all(turned, bars, start):
                return None
            if _all(self.setup, bars, start):
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


def _all(clauses: Iterable[Clause], bars: Bars, row: int) -> bool:
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


# The catalogue


@dataclass(frozen=True, slots=True)
class Pattern:
    """One candlestick pattern.

    `bars` make its shape (its place may be judged by one bar more); `sides` are its labels by sign, for patterns that
    can point either way. `rule` and `meaning` are for people; `said` and `quiet` are TA-Lib's rule itself, by sign:
    the clauses that an explanation speaks and those it takes as read.
    """

    name: str
    label: str
    code: str
    bars: int
    bias: Bias
    rule: str
    meaning: str
    sides: dict[int, str]
    said: dict[int, tuple[Clause, ...]] = field(repr=False)
    quiet: dict[int, tuple[Clause, ...]] = field(repr=False)

    def clauses(self, sign: int) -> tuple[Clause, ...]:
        """All of a side's rule; a multi-bar pattern's colours first, for they are what fails first."""
        said, quiet = self.said[sign], self.quiet[sign]
        return said + quiet if self.bars == 1 else quiet + said

    def fires(self, bars: Bars, row: int) -> int:
        """The sign by the rule table alone: what TA-Lib says, but for ties within rounding."""
        met = (s for s in self.sides if row >= self.reach(s) and _all(self.clauses(s), bars, row))
        return next(met, 0)

    def reach(self, sign: int) -> int:
        """Bars before a row that its rule looks at."""
        return max(clause.reach() for clause in self.clauses(sign))


PATTERNS: dict[str, Pattern] = {}


def _add(
    code: str,
    label: str,
    bars: int,
    bias: Bias,
    rule: str,
    meaning: str,
    *,
    said: Iterable[Clause],
    quiet: Iterable[Clause] = (),
    sign: int = 1,
    sides: tuple[str, str] | None = None,
    down: tuple[Iterable[Clause], Iterable[Clause]] | None = None,
) -> None:
    """Adds a pattern whose clauses are those of `sign`; `sides` makes the other side its mirror image, or `down`."""
    clauses, silent = {sign: tuple(said)}, {sign: tuple(quiet)}
    labels = {sign: label}
    if sides:
        labels = dict(zip((1, -1), sides, strict=True))
        turned = down or ([c.mirror() for c in clauses[1]], [c.mirror() for c in silent[1]])
        clauses[-1], silent[-1] = tuple(turned[0]), tuple(turned[1])
    name = re.sub(r"\W+", "_", label.lower())
    PATTERNS[code] = Pattern(name, label, code, bars, bias, rule, meaning, labels, clauses, silent)


def _both(label: str) -> tuple[str, str]:
    return f"Bullish {label}", f"Bearish {label}"


def _coloured(label: str) -> tuple[str, str]:
    return f"White {label}", f"Black {label}"


# fmt: off
# One bar
_add(
    "CDLHAMMER", "Hammer", 1, "bullish",
    "a short body near or under the low before, a lower shadow longer than the body, hardly an upper one",
    "sellers pushed the price down and lost it again: a fall may be over",
    said=[lower[0] > body[0], *bare(upper[0]), shorter(0)],
    quiet=[bottom[0] <= low[1] + near[1]],
)
_add(
    "CDLHANGINGMAN", "Hanging Man", 1, "bearish",
    "the hammer's shape, but near or over the high before",
    "a deep dip at the top of a rise: buyers had to be found again",
    sign=-1,
    said=[lower[0] > body[0], *bare(upper[0]), shorter(0), bottom[0] >= high[1] - near[1]],
)
_add(
    "CDLINVERTEDHAMMER", "Inverted Hammer", 1, "bullish",
    "a short body gapping under the one before, an upper shadow longer than the body, hardly a lower one",
    "a first try upwards after a fall; it wants confirming",
    said=[upper[0] > body[0], *bare(lower[0]), shorter(0), top[0] < bottom[1]],
)
_add(
    "CDLSHOOTINGSTAR", "Shooting Star", 1, "bearish",
    "a short body gapping over the one before, an upper shadow longer than the body, hardly a lower one",
    "a rise was tried and sold",
    sign=-1,
    said=[upper[0] > body[0], *bare(lower[0]), shorter(0), bottom[0] > top[1]],
)
_add(
    "CDLDOJI", "Doji", 1, "neutral",
    "a body of at most a tenth of the 10-bar average range",
    "open and close agree: nobody won",
    said=[doji(0)],
)
_add(
    "CDLDRAGONFLYDOJI", "Dragonfly Doji", 1, "bullish",
    "a doji with a lower shadow and hardly an upper one",
    "the day's fall was wholly bought back",
    said=[doji(0), lower[0] > tiny[0], *bare(upper[0])],
)
_add(
    "CDLGRAVESTONEDOJI", "Gravestone Doji", 1, "bearish",
    "a doji with an upper shadow and hardly a lower one (TA-Lib grades it +100 all the same)",
    "the day's rise was wholly sold",
    said=[doji(0), upper[0] > tiny[0], *bare(lower[0])],
)
_add(
    "CDLLONGLEGGEDDOJI", "Long-Legged Doji", 1, "neutral",
    "a doji with a shadow longer than its body",
    "wide swings that led nowhere",
    said=[doji(0), either([lower[0] > body[0]], [upper[0] > body[0]])],
)
_add(
    "CDLRICKSHAWMAN", "Rickshaw Man", 1, "neutral",
    "a doji with both shadows longer than its body, the body near the middle of the range",
    "wide swings to both sides, and back to the middle",
    said=[doji(0), lower[0] > body[0], upper[0] > body[0], bottom[0] <= middle[0] + near[0]],
    quiet=[top[0] >= middle[0] - near[0]],
)
_add(
    "CDLTAKURI", "Takuri", 1, "bullish",
    "a doji with hardly an upper shadow and a lower one over twice its body",
    "a dragonfly with a very long tail: a fall bought back",
    said=[doji(0), lower[0] > body[0] * 2, *bare(upper[0])],
)
_add(
    "CDLSPINNINGTOP", "Spinning Top", 1, "neutral",
    "a short body, both shadows longer than it",
    "neither side held its ground; the sign is only the bar's colour",
    sides=_coloured("Spinning Top"),
    said=[upper[0] > body[0], lower[0] > body[0], shorter(0)],
    quiet=white(0),
)
_add(
    "CDLHIGHWAVE", "High Wave", 1, "neutral",
    "a short body, both shadows over twice as long",
    "great uncertainty; the sign is only the bar's colour",
    sides=_coloured("High Wave"),
    said=[upper[0] > body[0] * 2, lower[0] > body[0] * 2, shorter(0)],
    quiet=white(0),
)
_add(
    "CDLSHORTLINE", "Short Line", 1, "neutral",
    "a short body, both shadows shorter than the average one",
    "a quiet bar; the sign is only its colour",
    sides=_coloured("Short Line"),
    said=[shorter(0), upper[0] < usual_shadow[0], lower[0] < usual_shadow[0]],
    quiet=white(0),
)
_add(
    "CDLLONGLINE", "Long Line", 1, "both",
    "a long body, both shadows shorter than the average one",
    "one side ruled the bar",
    sides=_both("Long Line"),
    said=[long(0), upper[0] < usual_shadow[0], lower[0] < usual_shadow[0]],
    quiet=white(0),
)
_add(
    "CDLMARUBOZU", "Marubozu", 1, "both",
    "a long body with hardly a shadow",
    "one side ruled from the open to the close",
    sides=_both("Marubozu"),
    said=[long(0), *bare(upper[0], lower[0])],
    quiet=white(0),
)
_add(
    "CDLCLOSINGMARUBOZU", "Closing Marubozu", 1, "both",
    "a long body that closes at its extreme",
    "one side ruled to the very end",
    sides=_both("Closing Marubozu"),
    said=[long(0), *bare(upper[0])],
    quiet=white(0),
)
_add(
    "CDLBELTHOLD", "Belt-Hold", 1, "both",
    "a long body that opens at its extreme",
    "one side took over from the first trade",
    sides=_both("Belt-Hold"),
    said=[long(0), *bare(lower[0])],
    quiet=white(0),
)

# Two bars
_add(
    "CDLENGULFING", "Engulfing", 2, "both",
    "a body of the other colour swallows the body before; 80 where one edge only touches",
    "the other side took the whole last bar back, and more",
    sides=_both("Engulfing"),
    said=[body[0] >= body[1], close[0] >= open_[1], open_[0] <= close[1]],
    quiet=[*black(1), *white(0), either([close[0] > open_[1]], [open_[0] < close[1]])],
)
_add(
    "CDLHARAMI", "Harami", 2, "both",
    "a short body inside the long body before; 80 where an edge touches",
    "the move has lost its breath",
    sides=_both("Harami"),
    said=[long(1), short(0), top[0] <= top[1], bottom[0] >= bottom[1]],
    quiet=black(1),
)
_add(
    "CDLHARAMICROSS", "Harami Cross", 2, "both",
    "a doji inside the long body before; 80 where an edge touches",
    "the move stopped dead",
    sides=_both("Harami Cross"),
    said=[long(1), doji(0), top[0] <= top[1], bottom[0] >= bottom[1]],
    quiet=black(1),
)
_add(
    "CDLDOJISTAR", "Doji Star", 2, "both",
    "a doji that gaps away from a long body, on in its direction",
    "the move overshot and stalled",
    sides=_both("Doji Star"),
    said=[long(1), top[0] < bottom[1], doji(0)],
    quiet=black(1),
)
_add(
    "CDLPIERCING", "Piercing Line", 2, "bullish",
    "after a long black bar, a long white one from under its low to over the middle of its body",
    "a fall that opened worse and was bought back by more than half",
    said=[long(1), open_[0] < low[1], close[0] > close[1] + body[1] * 0.5],
    quiet=[*black(1), *white(0), long(0), close[0] < open_[1]],
)
_add(
    "CDLDARKCLOUDCOVER", "Dark Cloud Cover", 2, "bearish",
    "after a long white bar, a black one from over its high to under the middle of its body",
    "a rise that opened better and was sold by more than half",
    sign=-1,
    said=[long(1), open_[0] > high[1], close[0] < close[1] - body[1] * 0.5],
    quiet=[*white(1), *black(0), close[0] > open_[1]],
)
_add(
    "CDLCOUNTERATTACK", "Counterattack", 2, "both",
    "two long bars of opposite colour with the same close",
    "a whole opening gap was won back",
    sides=_both("Counterattack"),
    said=[long(1), long(0), Within(close[0], close[1], equal[1])],
    quiet=[*black(1), *white(0)],
)
_add(
    "CDLSEPARATINGLINES", "Separating Lines", 2, "both",
    "a bar against the trend, then a long one with it from the same open",
    "the pause was undone at the open: the trend goes on",
    sides=_both("Separating Lines"),
    said=[Within(open_[0], open_[1], equal[1]), long(0), *bare(lower[0])],
    quiet=[*black(1), *white(0)],
)
_KICK = [*black(1), *white(0), *bare(upper[1], lower[1], upper[0], lower[0])]
_add(
    "CDLKICKING", "Kicking", 2, "both",
    "two marubozus of opposite colour with a gap between them",
    "the market turned over night",
    sides=_both("Kicking"),
    said=[low[0] > high[1], long(1), long(0)],
    quiet=_KICK,
)
_UP_KICK = [*black(1), *white(0), low[0] > high[1]]
_DOWN_KICK = [*white(1), *black(0), high[0] < low[1]]
_BARE_PAIR = bare(upper[1], lower[1], upper[0], lower[0])
_add(
    "CDLKICKINGBYLENGTH", "Kicking by Length", 2, "both",
    "two marubozus of opposite colour with a gap between them; the longer one says which way",
    "the market turned over night, and the longer bar is believed",
    sides=_both("Kicking by Length"),
    said=[long(1), long(0), either([*_UP_KICK, body[0] > body[1]], [*_DOWN_KICK, body[0] <= body[1]])],
    quiet=_BARE_PAIR,
    down=([long(1), long(0), either([*_DOWN_KICK, body[0] > body[1]], [*_UP_KICK, body[0] <= body[1]])], _BARE_PAIR),
)
_add(
    "CDLHOMINGPIGEON", "Homing Pigeon", 2, "bullish",
    "a short black body inside the long black body before",
    "the fall goes on with less strength",
    said=[long(1), short(0), open_[0] < open_[1], close[0] > close[1]],
    quiet=[*black(1), *black(0)],
)
_add(
    "CDLMATCHINGLOW", "Matching Low", 2, "bullish",
    "two black bars with the same close",
    "the second fall stopped where the first one did",
    said=[Within(close[0], close[1], equal[1])],
    quiet=[*black(1), *black(0)],
)
_add(
    "CDLINNECK", "In-Neck", 2, "bearish",
    "after a long black bar, a white one from under its low that closes at its close or just above",
    "a weak answer: the fall goes on",
    sign=-1,
    said=[long(1), open_[0] < low[1], close[0] <= close[1] + equal[1]],
    quiet=[*black(1), *white(0), close[0] >= close[1]],
)
_add(
    "CDLONNECK", "On-Neck", 2, "bearish",
    "after a long black bar, a white one from under its low that closes at its low",
    "a very weak answer: the fall goes on",
    sign=-1,
    said=[long(1), open_[0] < low[1], Within(close[0], low[1], equal[1])],
    quiet=[*black(1), *white(0)],
)
_add(
    "CDLTHRUSTING", "Thrusting", 2, "bearish",
    "after a long black bar, a white one from under its low that closes in the lower half of its body",
    "an answer that stops short of the middle: the fall goes on",
    sign=-1,
    said=[long(1), open_[0] < low[1], close[0] <= open_[1] - body[1] * 0.5],
    quiet=[*black(1), *white(0), close[0] > close[1] + equal[1]],
)

# Three bars
_add(
    "CDLMORNINGSTAR", "Morning Star", 3, "bullish",
    "a long black bar, a short body gapping below it, a white bar closing well into the first body",
    "a fall, a stop, an answer: a turn up",
    said=[long(2), top[1] < bottom[2], body[0] > usual_body[0], close[0] > close[2] + body[2] * 0.3],
    quiet=[*black(2), *white(0), short(1)],
)
_add(
    "CDLEVENINGSTAR", "Evening Star", 3, "bearish",
    "a long white bar, a short body gapping above it, a black bar closing well into the first body",
    "a rise, a stop, an answer: a turn down",
    sign=-1,
    said=[long(2), bottom[1] > top[2], body[0] > usual_body[0], close[0] < close[2] - body[2] * 0.3],
    quiet=[*white(2), *black(0), short(1)],
)
_add(
    "CDLMORNINGDOJISTAR", "Morning Doji Star", 3, "bullish",
    "a morning star whose middle bar is a doji",
    "a fall, a dead stop, an answer: a turn up",
    said=[long(2), top[1] < bottom[2], doji(1), body[0] > usual_body[0], close[0] > close[2] + body[2] * 0.3],
    quiet=[*black(2), *white(0)],
)
_add(
    "CDLEVENINGDOJISTAR", "Evening Doji Star", 3, "bearish",
    "an evening star whose middle bar is a doji",
    "a rise, a dead stop, an answer: a turn down",
    sign=-1,
    said=[long(2), bottom[1] > top[2], doji(1), body[0] > usual_body[0], close[0] < close[2] - body[2] * 0.3],
    quiet=[*white(2), *black(0)],
)
_add(
    "CDLABANDONEDBABY", "Abandoned Baby", 3, "both",
    "a doji star with gaps on both sides, shadows included",
    "a turn that left its doji alone: rare, and taken seriously",
    sides=_both("Abandoned Baby"),
    said=[long(2), high[1] < low[2], low[0] > high[1], doji(1), close[0] > close[2] + body[2] * 0.3],
    quiet=[*black(2), *white(0), body[0] > usual_body[0]],
)
_add(
    "CDLTRISTAR", "Tristar", 3, "both",
    "three dojis, the middle one gapping away",
    "three times nobody won: a trend is tired",
    sides=_both("Tristar"),
    said=[top[1] < bottom[2], *(body[bar] <= tiny[2] for bar in (2, 1, 0)), bottom[0] > bottom[1]],
)
_add(
    "CDL3WHITESOLDIERS", "Three White Soldiers", 3, "bullish",
    "three rising white bars with hardly an upper shadow, each opening in or near the body before",
    "steady buying, three bars long",
    said=[close[0] > close[1], close[1] > close[2], body[0] > usual_body[0], *bare(upper[0])],
    quiet=[
        *white(2, 1, 0), *bare(upper[2], upper[1]), open_[1] > open_[2], open_[1] <= close[2] + near[2],
        open_[0] > open_[1], open_[0] <= close[1] + near[1], body[1] > body[2] - far[2], body[0] > body[1] - far[1],
    ],
)
_add(
    "CDL3BLACKCROWS", "Three Black Crows", 3, "bearish",
    "after a white bar, three falling black bars with hardly a lower shadow, each opening in the body before",
    "steady selling, three bars long",
    sign=-1,
    said=[close[2] > close[1], close[1] > close[0], high[3] > close[2], *bare(lower[0])],
    quiet=[
        *white(3), *black(2, 1, 0), *bare(lower[2], lower[1]), open_[1] < open_[2], open_[1] > close[2],
        open_[0] < open_[1], open_[0] > close[1],
    ],
)
_add(
    "CDLIDENTICAL3CROWS", "Identical Three Crows", 3, "bearish",
    "three falling black bars with hardly a lower shadow, each opening at the close before",
    "selling without a pause",
    sign=-1,
    said=[
        close[2] > close[1], close[1] > close[0], Within(open_[1], close[2], equal[2]),
        Within(open_[0], close[1], equal[1]),
    ],
    quiet=[*black(2, 1, 0), *bare(lower[2], lower[1], lower[0])],
)
_add(
    "CDLADVANCEBLOCK", "Advance Block", 3, "bearish",
    "three rising white bars that weaken: smaller bodies or longer upper shadows",
    "the rise meets resistance",
    sign=-1,
    said=[
        either(
            [body[1] < body[2] - far[2], body[0] < body[1] + near[1]],
            [body[0] < body[1] - far[1]],
            [body[0] < body[1], body[1] < body[2], either([upper[0] > usual_shadow[0]], [upper[1] > usual_shadow[1]])],
            [body[0] < body[1], upper[0] > body[0]],
        ),
        long(2),
    ],
    quiet=[
        *white(2, 1, 0), close[0] > close[1], close[1] > close[2], open_[1] > open_[2],
        open_[1] <= close[2] + near[2], open_[0] > open_[1], open_[0] <= close[1] + near[1],
        upper[2] < usual_shadow[2],
    ],
)
_add(
    "CDLSTALLEDPATTERN", "Stalled Pattern", 3, "bearish",
    "two long rising white bars, then a short one at their top",
    "the rise stalls",
    sign=-1,
    said=[long(2), long(1), shorter(0), open_[0] >= close[1] - body[0] - near[1]],
    quiet=[
        *white(2, 1, 0), close[0] > close[1], close[1] > close[2], *bare(upper[1]), open_[1] > open_[2],
        open_[1] <= close[2] + near[2],
    ],
)
_add(
    "CDL3INSIDE", "Three Inside", 3, "both",
    "a harami, then a close beyond the first bar's open",
    "the harami's promise, kept",
    sides=("Three Inside Up", "Three Inside Down"),
    said=[long(2), short(1), close[0] > open_[2]],
    quiet=[*black(2), *white(0), top[1] < top[2], bottom[1] > bottom[2]],
)
_add(
    "CDL3OUTSIDE", "Three Outside", 3, "both",
    "an engulfing, then a close further on",
    "the engulfing's promise, kept",
    sides=("Three Outside Up", "Three Outside Down"),
    said=[close[1] > open_[2], open_[1] < close[2], close[0] > close[1]],
    quiet=[*black(2), *white(1)],
)
_add(
    "CDL3STARSINSOUTH", "Three Stars in the South", 3, "bullish",
    "three black bars, each smaller and inside the one before, the first with a long lower shadow",
    "the fall dies away",
    said=[long(2), lower[2] > body[2], low[1] >= low[2], low[0] > low[1], high[0] < high[1]],
    quiet=[
        *black(2, 1, 0), body[1] < body[2], open_[1] > close[2], open_[1] <= high[2], low[1] < close[2],
        lower[1] > tiny[1], shorter(0), *bare(lower[0], upper[0]),
    ],
)
_add(
    "CDL2CROWS", "Two Crows", 3, "bearish",
    "a long white bar, a black one gapping above it, a black one from its body into the first",
    "the gap up was sold",
    sign=-1,
    said=[long(2), bottom[1] > top[2], close[0] < close[2]],
    quiet=[*white(2), *black(1, 0), open_[0] < open_[1], open_[0] > close[1], close[0] > open_[2]],
)
_add(
    "CDLUPSIDEGAP2CROWS", "Upside Gap Two Crows", 3, "bearish",
    "a long white bar, a short black one gapping above it, a black one around that, still above the first close",
    "two tries above the gap, both sold",
    sign=-1,
    said=[long(2), bottom[1] > top[2], close[0] > close[2]],
    quiet=[*white(2), *black(1, 0), short(1), open_[0] > open_[1], close[0] < close[1]],
)
_add(
    "CDLUNIQUE3RIVER", "Unique Three River", 3, "bullish",
    "a long black bar, a black one inside it with a lower low, a short white one above that low",
    "a new low that did not hold",
    said=[long(2), low[1] < low[2], open_[0] > low[1], shorter(0)],
    quiet=[*black(2, 1), *white(0), close[1] > close[2], open_[1] <= open_[2]],
)
_add(
    "CDLSTICKSANDWICH", "Stick Sandwich", 3, "bullish",
    "a white bar between two black ones with the same close",
    "the same price held twice",
    said=[Within(close[0], close[2], equal[2]), low[1] > close[2]],
    quiet=[*black(2), *white(1), *black(0)],
)
_GAP_UP = [bottom[1] > top[2], bottom[0] > top[2]]
_GAP_DOWN = [top[1] < bottom[2], top[0] < bottom[2]]
_SIDE_BY_SIDE = [Within(body[0], body[1], near[1]), Within(open_[0], open_[1], equal[1])]
_add(
    "CDLGAPSIDESIDEWHITE", "Gap Side-by-Side White Lines", 3, "both",
    "two alike white bars side by side beyond a gap",
    "the gap held: the trend goes on",
    sides=("Up-Gap Side-by-Side White Lines", "Down-Gap Side-by-Side White Lines"),
    said=[*_GAP_UP, *_SIDE_BY_SIDE],
    quiet=white(1, 0),
    down=([*_GAP_DOWN, *_SIDE_BY_SIDE], white(1, 0)),
)
_add(
    "CDLTASUKIGAP", "Tasuki Gap", 3, "both",
    "beyond a gap, a bar with the trend and one against it, alike in size, that leaves the gap open",
    "the gap held: the trend goes on",
    sides=("Upside Tasuki Gap", "Downside Tasuki Gap"),
    said=[bottom[1] > top[2], close[0] > top[2], Within(body[1], body[0], near[1])],
    quiet=[*white(1), *black(0), open_[0] < close[1], open_[0] > open_[1], close[0] < open_[1]],
)
_add(
    "CDLXSIDEGAP3METHODS", "Gap Three Methods", 3, "both",
    "two bars with the trend and a gap between them, then one against it that closes the gap",
    "the gap was filled; the trend is said to go on",
    sides=("Upside Gap Three Methods", "Downside Gap Three Methods"),
    said=[bottom[1] > top[2], close[0] < top[2], open_[0] < top[1]],
    quiet=[*white(2, 1), *black(0), open_[0] > bottom[1], close[0] > bottom[2]],
)
_HIKKAKE = (high[1] < high[2], low[1] > low[2], high[0] < high[1], low[0] < low[1])
_add(
    "CDLHIKKAKE", "Hikkake", 3, "both",
    "an inside bar, then a break out of it; 200 when the close crosses the other side within 3 bars",
    "a false break: the market is expected the other way",
    sides=_both("Hikkake"),
    said=[either(_HIKKAKE, [Confirmed(_HIKKAKE)])],
)
_HIKKAKE_MODIFIED = (
    high[2] < high[3], low[2] > low[3], high[1] < high[2], low[1] > low[2], high[0] < high[1], low[0] < low[1],
    close[2] <= low[2] + near[2],
)
_add(
    "CDLHIKKAKEMOD", "Modified Hikkake", 4, "both",
    "a hikkake after two nested inside bars, the first of which closed at its edge",
    "a false break after a squeeze",
    sides=_both("Modified Hikkake"),
    said=[either(_HIKKAKE_MODIFIED, [Confirmed(_HIKKAKE_MODIFIED)])],
)

# Four and five bars
_add(
    "CDL3LINESTRIKE", "Three-Line Strike", 4, "both",
    "three bars with the trend, then one that takes all three back; TA-Lib's sign is that of the three",
    "a shake-out: the trend is said to go on",
    sides=_both("Three-Line Strike"),
    said=[open_[0] > close[1], close[0] < open_[3], close[1] > close[2], close[2] > close[3]],
    quiet=[
        *white(3, 2, 1), *black(0), open_[2] >= bottom[3] - near[3], open_[2] <= top[3] + near[3],
        open_[1] >= bottom[2] - near[2], open_[1] <= top[2] + near[2],
    ],
    down=(
        [open_[0] < close[1], close[0] > open_[3], close[1] < close[2], close[2] < close[3]],
        [
            *black(3, 2, 1), *white(0), open_[2] >= bottom[3] - near[3], open_[2] <= top[3] + near[3],
            open_[1] >= bottom[2] - near[2], open_[1] <= top[2] + near[2],
        ],
    ),
)
_add(
    "CDLCONCEALBABYSWALL", "Concealing Baby Swallow", 4, "bullish",
    "two black marubozus, a black bar gapping below that reaches back up, a black one that swallows it whole",
    "the last shorts are caught",
    said=[top[1] < bottom[2], high[1] > close[2], high[0] > high[1], low[0] < low[1]],
    quiet=[*black(3, 2, 1, 0), *bare(lower[3], upper[3], lower[2], upper[2]), upper[1] > tiny[1]],
)
_add(
    "CDLBREAKAWAY", "Breakaway", 5, "both",
    "a long bar, a gap, two bars further on, then one that closes inside the gap",
    "a move that broke away and was called back",
    sides=_both("Breakaway"),
    said=[long(4), top[3] < bottom[4], close[0] > open_[3], close[0] < close[4]],
    quiet=[*black(4, 3, 1), *white(0), high[2] < high[3], low[2] < low[3], high[1] < high[2], low[1] < low[2]],
)
_add(
    "CDLLADDERBOTTOM", "Ladder Bottom", 5, "bullish",
    "three falling black bars, a fourth with an upper shadow, a white one above it all",
    "a ladder down that ends in an answer",
    said=[close[4] > close[3], close[3] > close[2], upper[1] > tiny[1], close[0] > high[1]],
    quiet=[*black(4, 3, 2, 1), *white(0), open_[4] > open_[3], open_[3] > open_[2], open_[0] > open_[1]],
)
_add(
    "CDLMATHOLD", "Mat Hold", 5, "bullish",
    "a long white bar, a gap up and three short bars that give little back, then a new high",
    "a rest in a rise, gently held",
    said=[long(4), bottom[3] > top[4], bottom[1] > close[4] - body[4] * 0.5, close[0] > high[3]],
    quiet=[
        *white(4), *black(3), *white(0), shorter(3), shorter(2), shorter(1), bottom[2] < close[4],
        bottom[1] < close[4], bottom[2] > close[4] - body[4] * 0.5, top[2] < open_[3], top[1] < top[2],
        open_[0] > close[1], close[0] > high[2], close[0] > high[1],
    ],
)
_add(
    "CDLRISEFALL3METHODS", "Rising and Falling Three Methods", 5, "both",
    "a long bar, three short ones against it within its range, then a long one beyond its close",
    "a rest within the trend, which goes on",
    sides=("Rising Three Methods", "Falling Three Methods"),
    said=[long(4), long(0), open_[0] > close[1], close[0] > close[4]],
    quiet=[
        *white(4), *black(3, 2, 1), *white(0), shorter(3), shorter(2), shorter(1),
        *(bottom[bar] < high[4] for bar in (3, 2, 1)), *(top[bar] > low[4] for bar in (3, 2, 1)), close[2] < close[3],
        close[1] < close[2],
    ],
)
# fmt: on

PATTERNS = dict(sorted(PATTERNS.items()))


# Names


@dataclass(frozen=True, slots=True)
class _Asked:
    """A pattern as somebody asked for it: whole (`side` 0), or only one of its signs."""

    pattern: Pattern
    side: int

    @property
    def label(self) -> str:
        return self.pattern.sides[self.side] if self.side else self.pattern.label


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _known_names() -> dict[str, _Asked]:
    known: dict[str, _Asked] = {}
    for pattern in PATTERNS.values():
        if len(pattern.sides) == 2:
            for sign, side_label in pattern.sides.items():
                direction = "Bullish" if sign > 0 else "Bearish"
                known[_plain(side_label)] = _Asked(pattern, sign)
                known.setdefault(_plain(f"{direction} {pattern.label}"), _Asked(pattern, sign))
        for name in (pattern.code, pattern.code[3:], pattern.label):
            known[_plain(name)] = _Asked(pattern, 0)
    return known


_KNOWN = _known_names()


def _find(name: str) -> _Asked:
    try:
        return _KNOWN[_plain(name)]
    except (KeyError, AttributeError):
        labels = [label for p in PATTERNS.values() for label in (p.label, *p.sides.values())]
        raise UnknownName.of("pattern", str(name), dict.fromkeys(labels)) from None


def signs(name: str) -> tuple[int, ...]:
    """The signs a pattern can fire with, as it is asked for: (1, -1) for Engulfing, (1,) for Bullish Engulfing."""
    asked = _find(name)
    return (asked.side,) if asked.side else tuple(sorted(asked.pattern.sides, reverse=True))


# Detection


def detect(candles: pd.DataFrame, names: str | Iterable[str] | None = None) -> pd.DataFrame:
    """TA-Lib's grades, one int32 column a pattern, spelled as asked; all 61 by TA-Lib's names where `names` is None.

    0 where nothing fired and in the warm-up. Where TA-Lib cannot be imported, pandas-ta-classic's own patterns stand
    in: the same but for ties within rounding, and compiled on first use (up to a second a pattern). Where that is
    missing too: DataError. An unknown name is a ValueError that offers the nearest.
    """
    chosen = list(PATTERNS) if names is None else [names] if isinstance(names, str) else list(names)
    asked = {name: _find(name) for name in chosen}
    codes = list(dict.fromkeys(each.pattern.code for each in asked.values()))
    grades = dict(zip(codes, _grade(candles, codes), strict=True))
    columns = {name: _one_side(grades[each.pattern.code], each.side) for name, each in asked.items()}
    return pd.DataFrame(columns, index=candles.index, copy=False)


def _one_side(grades: Array, side: int) -> Array:
    if side == 0:
        return grades
    return np.maximum(grades, 0) if side > 0 else np.minimum(grades, 0)


def _grade(candles: pd.DataFrame, codes: list[str]) -> list[Array]:
    prices = [np.ascontiguousarray(candles[name], dtype=np.float64) for name in ("open", "high", "low", "close")]
    if _talib is None:
        return [_stand_in(code, prices) for code in codes]
    functions = [getattr(_talib, code) for code in codes]
    if len(candles) < _THREADS_FROM or len(codes) < 8:
        return [function(*prices) for function in functions]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda function: function(*prices), functions))


def _stand_in(code: str, prices: list[Array]) -> Array:
    try:
        import pandas_ta_classic as ta
    except ImportError:
        raise DataError("no patterns without TA-Lib or pandas-ta-classic: pip install TA-Lib") from None
    rows = len(prices[0])
    found = ta.cdl_pattern(*map(pd.Series, prices), name=code[3:].lower()) if rows else None
    return np.zeros(rows, np.int32) if found is None else found.iloc[:, 0].fillna(0).to_numpy().astype(np.int32)


# Explanation


def explain(candles: pd.DataFrame, name: str, at: int | pd.Timestamp | str | None = None) -> str:
    """One sentence: which rule made the pattern fire at that bar, with the numbers measured, and the trend before.

    `at` is a row (negative counts from the end), or a bar's time; None is the last bar. Where the pattern did not
    fire, the sentence says so and names the first rule that failed. An unknown name is a ValueError, a bar that
    is not in the frame a DataError.
    """
    asked, row = _find(name), _row(candles, at)
    start = max(0, row + 1 - _WINDOW)
    grade = int(_grade(candles, [asked.pattern.code])[0][row])
    bars = Bars(candles.iloc[start : row + 1])
    if grade == 0 or grade * asked.side < 0:
        return _not_fired(asked, bars, row - start, candles.index[row])
    return _fired(asked.pattern, grade, bars, row - start)


def _row(candles: pd.DataFrame, at: int | pd.Timestamp | str | None) -> int:
    rows = len(candles)
    if at is None or isinstance(at, int | np.integer):
        row = rows - 1 if at is None else int(at) + (rows if at < 0 else 0)
        if not 0 <= row < rows:
            raise DataError(f"no bar {'to explain' if at is None else at}: the frame has {rows} rows")
        return row
    when = pd.Timestamp(at)
    when = when.tz_localize("UTC") if when.tzinfo is None else when
    found = int(candles.index.get_indexer(pd.DatetimeIndex([when]))[0])
    if found < 0:
        raise DataError(f"no bar opens at {when}: name one of the frame's own times, or a row number")
    return found


def _fired(pattern: Pattern, grade: int, bars: Bars, row: int) -> str:
    sign = 1 if grade > 0 else -1
    reasons = ", ".join(clause.text(bars, row, pattern.bars) for clause in pattern.said[sign])
    return f"{pattern.sides[sign]}: {reasons}{_trend(bars, row - pattern.bars)}."


def _trend(bars: Bars, row: int) -> str:
    """The way from the close TREND bars before `row` (or the first there is) to the close of `row`."""
    length = min(TREND, row)
    if length < 1:
        return ""
    change = 100 * (bars["close"][row] / bars["close"][row - length] - 1)
    over = f"over {length} bar{'s' * (length > 1)}"
    size = f"{abs(change):.1f}" if abs(change) >= 0.095 else f"{abs(change):.2f}"
    if float(size) == 0:
        return f", after no change {over}"
    return f", after a {'rise' if change > 0 else 'fall'} of {size} % {over}"


def _not_fired(asked: _Asked, bars: Bars, row: int, when: pd.Timestamp) -> str:
    pattern, day = asked.pattern, when == when.normalize()
    head = f"No {asked.label} at {when:%Y-%m-%d}" if day else f"No {asked.label} at {when:%Y-%m-%d %H:%M} UTC"
    signs = [asked.side] if asked.side else list(pattern.sides)
    if row < (reach := max(pattern.reach(sign) for sign in signs)):
        return f"{head}: its rule looks at {reach} bars before, and there are {row}."
    lacking = [[c for c in pattern.clauses(sign) if not c.holds(bars, row)] for sign in signs]
    fewest = min(lacking, key=len)
    if not fewest:
        return f"{head}: its rules hold only within rounding ({_fired(pattern, signs[0], bars, row)[:-1]})."
    more = f" ({len(fewest)} of its rules fail)" if len(fewest) > 1 else ""
    return f"{head}: {fewest[0].text(bars, row, pattern.bars, held=False)}{more}."


# Marks for the chart


def marks(candles: pd.DataFrame, names: str | Iterable[str] | None = None) -> pd.DataFrame:
    """One row a pattern that fired, oldest first: position, time, name, label, grade, price, text.

    `position` is the row in `candles`; `price` is where to draw the mark: under the low where the grade is above 0,
    over the high where it is below. Several marks on one bar's side are all listed, each a step further out. `text`
    is `explain`'s sentence.
    """
    grades = detect(candles, names)
    values = grades.to_numpy()
    rows, columns = np.nonzero(values)
    asked = [_find(name) for name in grades.columns]
    bars, found = Bars(candles), values[rows, columns]
    texts = [
        _fired(asked[column].pattern, grade, bars, row)
        for row, column, grade in zip(rows.tolist(), columns.tolist(), found.tolist(), strict=True)
    ]
    labels = [asked[c].pattern.sides[1 if g > 0 else -1] for c, g in zip(columns, found, strict=True)]
    return pd.DataFrame(
        {
            "position": rows,
            "time": candles.index[rows],
            "name": grades.columns[columns],
            "label": labels,
            "grade": found,
            "price": _mark_prices(bars, rows, found),
            "text": texts,
        }
    )


def _mark_prices(bars: Bars, rows: Array, grades: Array) -> Array:
    """Stacked outwards from the bar by 0.4 of the frame's median range."""
    above = grades < 0
    order = pd.DataFrame({"row": rows, "above": above}).groupby(["row", "above"]).cumcount().to_numpy()
    ranges = bars.of("range")
    step = 0.4 * float(np.median(ranges)) if len(ranges) else 0.0
    away = (order + 1) * step
    prices: Array = np.where(above, bars.of("high")[rows] + away, bars.of("low")[rows] - away)
    return prices


class CandlestickPatterns:
    """The six patterns of the manual by method, on the class or an instance; any other by `detect` and `explain`.

    Each takes a candle frame and returns a Series of grades.
    """

    detect = staticmethod(detect)
    explain = staticmethod(explain)
    marks = staticmethod(marks)

    @staticmethod
    def names() -> list[str]:
        """Labels of all 61, in the catalogue's order."""
        return [pattern.label for pattern in PATTERNS.values()]

    @staticmethod
    def hammer(candles: pd.DataFrame) -> pd.Series:
        return _graded(candles, "hammer")

    @staticmethod
    def bullish_engulfing(candles: pd.DataFrame) -> pd.Series:
        return _graded(candles, "bullish_engulfing")

    @staticmethod
    def bearish_engulfing(candles: pd.DataFrame) -> pd.Series:
        return _graded(candles, "bearish_engulfing")

    @staticmethod
    def doji(candles: pd.DataFrame) -> pd.Series:
        return _graded(candles, "doji")

    @staticmethod
    def morning_star(candles: pd.DataFrame) -> pd.Series:
        return _graded(candles, "morning_star")

    @staticmethod
    def evening_star(candles: pd.DataFrame) -> pd.Series:
        return _graded(candles, "evening_star")


def _graded(candles: pd.DataFrame, name: str) -> pd.Series:
    return detect(candles, name)[name]
