"""Confirmations on disk, and as their users see them.

    saved = save(folder, lesson, clock)              # models/confirmations/sma_crossover_v1.txt and .json
    found = load(folder, "sma_crossover", 1)         # 0: the newest
    said = found.answers(candles)                    # probabilities of events, a row a bar

The rule: a version is written once and never changed. The trees are LightGBM's own text, the rest JSON with a sha256 of
both in it: what is not, to the last byte, what was saved is not looked into. Whether one is armed is worked out from
its figures each time, never read.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest.setup import Exit
from domain.candles import nanos, timeframe
from domain.clock import Clock
from domain.errors import DeskError, ModelDamaged, ModelError, ModelMissing
from domain.instruments import instrument
from domain.models import plain, shelf
from domain.params import build
from learning._confirming_events import Bracket, events, spec
from learning._confirming_evidence import probability, refusals, sentence
from learning._files import put
from strategies.base import find

Floats = npt.NDArray[np.float64]
SCHEMA = 1
ROOM = "confirmations"
BIGGEST = 64 * 1024 * 1024
OPEN = 2  # a calendar's number for regular hours
CALLED = re.compile(r"(?P<name>[a-z][a-z0-9_]{0,40})_v(?P<version>[1-9][0-9]{0,8})")
_NAMES = re.compile(r"[a-z][a-z0-9_]{0,40}")
NEEDED = (
    "name",
    "version",
    "created_utc",
    "primary",
    "bracket",
    "timeframe",
    "market",
    "reach",
    "features",
    "calibration",
    "break_even",
    "evidence",
    "split",
    "data",
    "files",
)
HARDLY = 0.05
_folder: Path | None = None


def use_folder(folder: Path | None) -> Path | None:
    """Where the confirmations of this process lie; None: beside the models of the settings. The one before is handed
    back."""
    global _folder
    before, _folder = _folder, folder
    return before


def place() -> Path:
    """Where the confirmations of this process lie."""
    if _folder is not None:
        return _folder
    models: Path = importlib.import_module("settings").load().models_dir
    return models / ROOM


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned: the trees as LightGBM's text, and all that is to be told of them as JSON values."""

    trees: str
    said: dict[str, Any]

    @property
    def refused(self) -> tuple[str, ...]:
        return refusals(self.said)

    @property
    def sentence(self) -> str:
        return sentence(self.said)


# In


def save(folder: Path, lesson: Lesson, clock: Clock, name: str = "") -> Confirmation:
    """Save under the next free version of `name` (the strategy's where none is given)."""
    name = name or lesson.said["primary"]["strategy"]
    if not _NAMES.fullmatch(name):
        raise ModelError(f"a confirmation's name has small letters, digits and _, and begins with a letter: {name!r}")
    said: dict[str, Any] = {"schema_version": SCHEMA, "name": name, "version": 0} | lesson.said
    said["created_utc"] = clock.now().astimezone(UTC).isoformat(timespec="seconds")
    try:
        plain(said, name)
    except ValueError as error:
        raise ModelError(f"{error}; a confirmation's description is text, numbers, lists and mappings alone") from None
    said["version"] = _claim(folder, name)
    content = lesson.trees.encode()
    said["files"] = {"trees": {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}}
    put(_path(folder, name, said["version"], "txt"), content)
    told = said | {"sha256": _seal(said)}
    put(_path(folder, name, said["version"], "json"), (json.dumps(told, indent=1) + "\n").encode())
    return load(folder, name, said["version"])


def _claim(folder: Path, name: str) -> int:
    """A version for us alone: whoever makes its empty description first has it."""
    folder.mkdir(parents=True, exist_ok=True)
    at = 1 + max(versions(folder, name), default=0)
    while True:
        try:
            os.close(os.open(_path(folder, name, at, "json"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            return at
        except FileExistsError:
            at += 1


def _seal(said: Mapping[str, Any]) -> str:
    """The sha256 of a description, but for this line of it."""
    rest = {key: value for key, value in said.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


# Out


def versions(folder: Path, name: str) -> list[int]:
    """Every version of that name, oldest first, unfinished ones too."""
    found = (CALLED.fullmatch(path.stem) for path in folder.glob(f"{name}_v*") if path.suffix in (".json", ".txt"))
    return sorted({int(match["version"]) for match in found if match and match["name"] == name})


def names(folder: Path) -> list[str]:
    """Every name there is a confirmation of."""
    found = (CALLED.fullmatch(path.stem) for path in folder.glob("*.json")) if folder.is_dir() else iter(())
    return sorted({match["name"] for match in found if match})


def load(folder: Path, name: str, version: int = 0) -> Confirmation:
    """One version, 0 for the newest that was finished. ModelMissing, or ModelDamaged where a byte is not what was
    saved."""
    if not _NAMES.fullmatch(name):
        raise ModelMissing(_none(folder, f"no confirmation is called {name!r}" if name else "no confirmation is named"))
    held = versions(folder, name)
    if not held or (version and version not in held):
        asked = f"{name}_v{version}" if version else name
        raise ModelMissing(_none(folder, f"there is no confirmation {asked} in {folder}"))
    finished = [one for one in held if _finished(_path(folder, name, one, "json"))]
    chosen = version or (finished or held)[-1]
    return _loaded(folder, name, chosen, _bytes(_path(folder, name, chosen, "json"), f"{name}_v{chosen}"))


def _finished(path: Path) -> bool:
    """Whether its description is there: that is written last."""
    return path.is_file() and path.stat().st_size > 0


def _none(folder: Path, begin: str) -> str:
    held = ", ".join(names(folder))
    return f"{begin}: there {f'are {held}' if held else 'is none'}; python ml_pipeline.py --confirm STRATEGY makes one"


def _loaded(folder: Path, name: str, version: int, told: bytes) -> Confirmation:
    path, called = _path(folder, name, version, "json"), f"{name}_v{version}"
    if not told:
        raise ModelDamaged(f"{called} was never finished: whoever saved it stopped before the end")
    try:
        said = json.loads(told)
        if said["schema_version"] != SCHEMA:
            raise ModelDamaged(
                f"{path} has schema {said['schema_version']!r} and this program knows {SCHEMA}: use the program that "
                f"saved it"
            )
        if missing := [key for key in NEEDED if key not in said]:
            raise ModelDamaged(f"{path} lacks {', '.join(missing)}")
        if said["sha256"] != _seal(said):
            raise ModelDamaged(f"{path} was changed since it was saved (its sha256 differs): it is not read")
        if (said["name"], said["version"]) != (name, version):
            raise ModelDamaged(f"{path} describes {said['name']}_v{said['version']}: a version is not renamed")
        saved = said["files"]["trees"]
        return _kept(_path(folder, name, version, "txt"), called, saved["sha256"], saved["bytes"], told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelDamaged(f"{path} is torn ({type(error).__name__}: {error})") from None


def _bytes(path: Path, called: str) -> bytes:
    """A file's content, where it is a file and not endless."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > BIGGEST:
            raise ModelDamaged(f"{path} is no file of at most {BIGGEST:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelDamaged(f"{path} is gone: {called} is not whole") from None
    except OSError as error:
        raise ModelDamaged(f"{path} cannot be read ({error})") from None


def _kept(path: Path, called: str, sha256: str, size: int, told: bytes) -> Confirmation:
    """The confirmation of these bytes: each is read anew, and grown once a process."""
    content = _bytes(path, called)
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        raise ModelDamaged(f"{path} was changed since it was saved (its sha256 differs): it is not read")
    return _grown(content, told)


@functools.lru_cache(maxsize=16)
def _grown(content: bytes, told: bytes) -> Confirmation:
    import lightgbm

    said = json.loads(told)
    called = f"{said['name']}_v{said['version']}"
    try:
        trees = lightgbm.Booster(model_str=content.decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ModelDamaged(f"{called}: its trees cannot be read: {error}") from None
    if trees.num_feature() != len(said["features"]["names"]):
        raise ModelDamaged(f"{called}: its trees and its description do not fit")
    return Confirmation(said, trees)


def _path(folder: Path, name: str, version: int, suffix: str) -> Path:
    return folder / f"{name}_v{version}.{suffix}"


# What it answers


class Exits(Protocol):
    """The ways out of a trade (`backtest.setup.Setup`)."""

    @property
    def stop(self) -> Exit | None: ...
    @property
    def target(self) -> Exit | None: ...
    @property
    def trail(self) -> Exit | None: ...
    @property
    def max_bars(self) -> int: ...


def _way(out: Exit | None) -> tuple[object, ...]:
    return () if out is None else (out.kind, out.amount, out.period if out.kind == "atr" else 0)


def _words(out: Exit | None) -> str:
    return "none" if out is None else out.words


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """One row a bar. `p` is the probability that the bracket of an event at that bar earns something, NaN where there
    is none; `side` the side that the strategy takes there, 0 where it takes none; `whole` whether the event's past is
    there and unbroken; `regular` whether the bar is one of regular hours."""

    p: Floats
    side: Floats
    whole: npt.NDArray[np.bool_]
    regular: npt.NDArray[np.bool_]


class Confirmation:
    """A saved confirmation. `problem` says why it may not be asked by this program; '' where it may."""

    def __init__(self, said: Mapping[str, Any], trees: Any) -> None:
        self.said, self._trees = said, trees
        self.called = f"{said['name']}_v{said['version']}"
        self.level, self.factor = float(said["calibration"]["level"]), float(said["calibration"]["factor"])
        self.bracket, self.break_even = Bracket.of(said["bracket"]), float(said["break_even"])
        self.reach = int(said["reach"])
        self.seen_until, self.data_until = int(said["split"]["seen_until"]), int(said["split"]["data_until"])
        self.refused = refusals(said)

    @property
    def words(self) -> str:
        """The strategy that it judges, as it was set."""
        primary = self.said["primary"]
        return f"{primary['strategy']} ({', '.join(f'{name} {value}' for name, value in primary['params'].items())})"

    @property
    def armed(self) -> bool:
        return not self.refused

    @property
    def sentence(self) -> str:
        return sentence(self.said)

    def problem(self) -> str:
        """Why nothing it says may be used now; '' where it may: other features than it learned from, not armed, or a
        model behind the strategy that is not the one it was learned with."""
        told = self.said["features"]
        if told["sha256"] != spec(self.said["timeframe"])["sha256"]:
            return f"{self.called} learned from other features than this program makes: learn anew"
        if self.refused:
            return f"{self.called} is not armed: {'; '.join(self.refused)}"
        if (of := self.said["primary"]["model"]) is None:
            return ""
        try:
            now = shelf().facts(self.strategy().asked)
        except DeskError as error:
            return f"{self.called}: {error}"
        if now.sha256 != of["sha256"]:
            return f"{self.called} learned to judge {of['called']}, and the strategy asks {now.called} now: learn anew"
        return ""

    def misfit(self, setup: Exits) -> str:
        """Why its odds are not those of trades with these ways out; '' where they are. What it learned to be out of
        after so many bars may be held for as long as is wanted only where hardly anything lasted that long."""
        mine, bars = (self.bracket.stop, self.bracket.target, None), self.bracket.horizon
        theirs = setup.stop, setup.target, setup.trail
        pairs = zip(("stop", "target", "trailing stop"), mine, theirs, strict=True)
        apart = [f"{name} {_words(new)}, not {_words(old)}" for name, old, new in pairs if _way(old) != _way(new)]
        timed: float = self.said.get("timed_out", 1.0)
        if setup.max_bars != bars and (setup.max_bars or timed > HARDLY):
            new = f"{setup.max_bars} bars at most" if setup.max_bars else "as long as is wanted"
            apart.append(f"held {new}, not {bars} bars at most (which ended {timed:.0%} of what it learned from)")
        return f"{self.called} is a misfit: it learned with other ways out ({'; '.join(apart)})" if apart else ""

    def strategy(self) -> Any:
        """The strategy whose sides it judges, as it was set."""
        primary = self.said["primary"]
        return build(find(primary["strategy"]), dict(primary["params"]))

    def answers(self, candles: pd.DataFrame) -> Answers:
        """What it says of each bar, armed or not. It reads regular hours alone; at other bars there is no event."""
        of, tf = instrument(self.said["market"]), timeframe(self.said["timeframe"])
        regular = np.asarray(of.calendar.locate(nanos(candles))[1] == OPEN)
        found = events(self.strategy(), candles[regular], self.bracket, of, tf)
        rows = np.flatnonzero(regular)[found.rows]
        p, side, whole = np.full(len(candles), np.nan), np.zeros(len(candles)), np.zeros(len(candles), dtype=np.bool_)
        side[rows], whole[rows] = found.side, found.whole
        if found.whole.any():
            odds = self._trees.predict(found.X[found.whole], raw_score=True, num_threads=1)
            p[rows[found.whole]] = probability(odds, self.level, self.factor)
        return Answers(p, side, whole, regular)
