"""What the champion says of the bars of a chart: its probability a bar, or why it abstains.

    answer = said(live)          # worked out once a closed bar and model, on a thread of its own; never by a tick
    answer.words                 # "model v3: up 54 % · trained 3 days ago on 5m AAPL, SPY"

The rule: a model is asked about the bars it was made for and no others, regular hours alone as in its training, and
what it says of bars it learned from is told apart: there its word proves nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain import models
from domain.candles import nanos
from domain.clock import SystemClock, monotonic
from domain.errors import DeskError

if TYPE_CHECKING:
    from performance_utils import LiveCandles

Floats = npt.NDArray[np.float64]
LEARNED = " · it learned from this bar"
STUDY = "model"  # as it stands in a chart's address
ASKED = "champion"
LOOK_AGAIN_S = 2.0
WAIT_S = 0.5
MOST = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """What a model says of each row of a frame. `lines` are percentages by name, NaN where it says nothing: first what
    counts, then, where there are any, the bars it learned from. `verbs` is what it says of each row, to be read between
    `lead` and `trail`; `words` all that of the newest bar, with version and age, or why it abstains. `key` is the same
    while all of this is."""

    key: str
    words: str
    lines: dict[str, Floats] = field(default_factory=dict)
    verbs: npt.NDArray[np.object_] = field(default_factory=lambda: np.empty(0, dtype=object))
    lead: str = ""
    about: str = ""
    guides: tuple[float, ...] = (50.0,)

    def trail(self, name: str) -> str:
        """What follows a verb on this line."""
        return (LEARNED if name.endswith(LEARNED) else "") + (f" · {self.about}" if self.about else "")

    @property
    def span(self) -> tuple[float, float]:
        """The ends of its axis: room around a half, and for every value."""
        values = np.concatenate([line[np.isfinite(line)] for line in self.lines.values()] or [np.empty(0)])
        return min([40.0, *(values - 2.0)]), max([60.0, *(values + 2.0)])

    @property
    def label(self) -> str:
        """The caption of its panel."""
        return self.words


_kept: OrderedDict[tuple[str, ...], Future[Said]] = OrderedDict()
_lock = threading.Lock()
_reader = ThreadPoolExecutor(1, "model")
_facts: tuple[float, models.ModelFacts | str] = (float("-inf"), "")


def said(live: LiveCandles) -> Said:
    """What the champion says of the closed bars. It never raises and hardly waits: meanwhile it says so."""
    facts = champion()
    if isinstance(facts, str):
        return _abstains(facts)
    if facts.timeframe != live.tf.name:
        return _abstains(f"{_named(facts)} reads {facts.timeframe} bars; this chart shows {live.tf.name}")
    if facts.problem:
        return _abstains(facts.problem)
    key = (facts.called, facts.sha256, live.instrument.symbol, live.tf.name, live.revision, str(len(live.closed)))
    with _lock:
        if key not in _kept:
            _kept[key] = _reader.submit(_worked_out, facts, live)
            while len(_kept) > MOST:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        found = _kept[key]
    try:
        return found.result(WAIT_S)
    except NotYet:
        return Said("being read", f"{_named(facts)} reads the bars …")


def champion() -> models.ModelFacts | str:
    """What is known of the champion, or why there is none; looked up every other second for all viewers."""
    global _facts
    looked, found = _facts
    if monotonic() - looked > LOOK_AGAIN_S:
        try:
            found = models.shelf().facts(ASKED)
        except (DeskError, OSError, ImportError) as error:
            found = str(error)
        _facts = (monotonic(), found)
    return found


def _named(facts: models.ModelFacts) -> str:
    return f"model v{facts.version}"


def _abstains(why: str) -> Said:
    return Said(f"abstains: {why}", f"Model abstains: {why}")


def _worked_out(facts: models.ModelFacts, live: LiveCandles) -> Said:
    try:
        model = models.shelf().model(ASKED)
        if model.facts.sha256 != facts.sha256:
            return _abstains("another model has just become the champion")
        return of(model, live.closed, live.instrument, about())
    except Exception as error:  # noqa: BLE001 - the chart must go on, and a person must read why the model does not
        _log.warning("the champion could not be asked: %s", error, exc_info=not isinstance(error, DeskError))
        return _abstains(str(error) or type(error).__name__)


def about() -> str:
    """`trained 3 days ago on 5m AAPL, SPY` of the champion, and whether those prices were made up."""
    from ui.model_card import age, simulated

    try:
        entry = models.shelf().manager.entry(ASKED)  # type: ignore[attr-defined]
    except (DeskError, AttributeError):
        return ""
    data = entry.said["data"]
    symbols = ", ".join(data["symbols"][:3]) + (" …" if data["symbols"][3:] else "")
    made_up = " · SIMULATED prices" if simulated(entry.said) else ""
    when = age(entry.said["created_utc"], SystemClock().now())
    return f"trained {when} on {entry.said['features']['timeframe']} {symbols}{made_up}"


def of(model: models.Model, candles: pd.DataFrame, instrument: Any, about: str = "") -> Said:
    """What `model` says of every row of closed candles."""
    facts, rows = model.facts, len(candles)
    _, phase = instrument.calendar.locate(nanos(candles))
    regular = np.flatnonzero((phase == 2) | bool(instrument.is_crypto))
    asked = candles.iloc[regular]
    p = np.full((rows, len(facts.classes)), np.nan)
    p[regular] = model.predict(asked)
    value, verbs = _figure(p, facts)
    learned = nanos(candles) < facts.seen_until
    name = f"{_named(facts)}{' up' if 'up' in facts.classes else ''}, %"
    lines = {name: np.where(learned, np.nan, value).round(1)}
    if (learned & np.isfinite(value)).any():
        lines[f"{name}{LEARNED}"] = np.where(learned, value, np.nan).round(1)
    spoken = np.array(verbs, dtype=object)
    known, verb = (np.isfinite(value[regular[-1]]), spoken[regular[-1]]) if len(regular) else (False, "")
    last = f"{nanos(asked)[-1]}" if len(regular) else ""
    if known:
        trail = (LEARNED if learned[regular[-1]] else "") + (f" · {about}" if about else "")
        words = f"Model v{facts.version}: {verb}{trail}"
    else:
        words = f"Model abstains: {_why_not(model, asked)}"
    return Said(f"{facts.sha256[:16]} {last} {words}", words, lines, spoken, f"{_named(facts)}: ", about)


def _figure(p: Floats, facts: models.ModelFacts) -> tuple[Floats, list[str]]:
    """The percentage of each row, and what it says in words."""
    known = np.isfinite(p).all(axis=1)
    if "up" in facts.classes:
        value = 100.0 * p[:, facts.classes.index("up")]
        return value, [f"up {v:.0f} %" if ok else "" for v, ok in zip(value, known, strict=True)]
    value = 100.0 * (1.0 - p[:, 0])
    which = np.where(known[:, None], p, 0.0)[:, 1:].argmax(axis=1) + 1
    named = [f"{facts.classes[at]} {100.0 * row[at]:.0f} %" for at, row in zip(which, p, strict=True)]
    plain = [f"no pattern {100.0 * row[0]:.0f} %" for row in p]
    say = [a if v >= 50.0 else b for a, b, v in zip(named, plain, value, strict=True)]
    return value, [text if ok else "" for text, ok in zip(say, known, strict=True)]


def _why_not(model: models.Model, asked: pd.DataFrame) -> str:
    """Why it says nothing of the newest bar that it may be asked about."""
    if not len(asked):
        return "there is no bar of regular hours"
    return model.why_not(asked, len(asked) - 1) or "it has no finite answer"
