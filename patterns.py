"""Candlestick patterns: a frame in, marks and their reasons out.

TA-Lib decides what fired; `domain.pattern_rules` says why, with the numbers it measured. The two are held together by
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
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from domain.candle_shapes import (
    Array,
    Bars,
)
from domain.errors import DataError, UnknownName
from domain.pattern_rules import PATTERNS, Pattern

try:
    import talib as _talib
except ImportError:
    _talib = None  # type: ignore[assignment]

TREND = 10  # bars before the pattern that the sentence looks back on
_THREADS_FROM = 50_000  # rows from which two threads pay: TA-Lib lets go of the GIL
_WINDOW = 80  # rows that any one explanation can look back on, with room to spare


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
    """One row a pattern that fired, oldest first: position, time, name, label, grade, side, price, text.

    `position` is the row in `candles`. `side` is what the pattern is read as: 1 bullish, -1 bearish, 0 neither (a
    doji, whatever its grade). `price` is where to draw the mark: under the low of a bullish one, else over the high.
    Several marks on one bar's side are all listed, each a step further out. `text` is `explain`'s sentence.
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
    sides = np.array([asked[c].pattern.side(g) for c, g in zip(columns, found, strict=True)], dtype=np.int64)
    return pd.DataFrame(
        {
            "position": rows,
            "time": candles.index[rows],
            "name": grades.columns[columns],
            "label": labels,
            "grade": found,
            "side": sides,
            "price": _mark_prices(bars, rows, sides),
            "text": texts,
        }
    )


def _mark_prices(bars: Bars, rows: Array, sides: Array) -> Array:
    """Stacked outwards from the bar by 0.4 of the frame's median range."""
    above = sides <= 0
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
