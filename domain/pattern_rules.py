"""The rules of all 61 candlestick patterns, as TA-Lib applies them, in clauses that can explain themselves.

A test holds them to TA-Lib: over random candles each pattern's rules are true exactly where TA-Lib fires.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from domain.candle_shapes import (
    Bars,
    Clause,
    Confirmed,
    Within,
    all_hold,
    bare,
    black,
    body,
    bottom,
    close,
    doji,
    either,
    equal,
    far,
    high,
    long,
    low,
    lower,
    middle,
    near,
    open_,
    short,
    shorter,
    tiny,
    top,
    upper,
    usual_body,
    usual_shadow,
    white,
)

Bias = Literal["bullish", "bearish", "both", "neutral"]


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

    def side(self, grade: int) -> int:
        """What it is read as with this grade: 1 bullish, -1 bearish, 0 neither."""
        fixed = {"bullish": 1, "bearish": -1, "neutral": 0}
        return fixed.get(self.bias, 1 if grade > 0 else -1)

    def clauses(self, sign: int) -> tuple[Clause, ...]:
        """All of a side's rule; a multi-bar pattern's colours first, for they are what fails first."""
        said, quiet = self.said[sign], self.quiet[sign]
        return said + quiet if self.bars == 1 else quiet + said

    def fires(self, bars: Bars, row: int) -> int:
        """The sign by the rule table alone: what TA-Lib says, but for ties within rounding."""
        met = (s for s in self.sides if row >= self.reach(s) and all_hold(self.clauses(s), bars, row))
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
