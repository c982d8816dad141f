"""From candles to a judged model: prepare, train, calibrate, judge beside plain baselines, save under a new version.

    python ml_pipeline.py --data-dir data/ohlcv/ --epochs 30 --seq-len 10 --lr 1e-3

The rule: the figures that are printed are of bars later than anything that was learned or tuned from, and what always
naming the commonest class would get stands first. Ctrl+C keeps the last epoch; the same line with --resume goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

import settings as settings_file
from backtest import command, loading
from domain import registry
from domain.candles import TIMEFRAMES, timeframe
from domain.clock import SystemClock
from domain.errors import DeskError, ModelError, TrainingStopped
from domain.instruments import instrument
from domain.params import params_of
from feeds.market import open_market
from learning import job
from learning.card import FIGURES, card, figures
from learning.confirming import ROOM, Bracket, save, teach_on
from learning.confirming import report as told_of
from learning.datasets import Dataset, gathered, load
from learning.job import Asked, Lesson, prepare, teach
from learning.labels import KINDS, Label
from learning.options import Options
from model_manager import NAME, Entry, ModelManager
from settings import Settings

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
OF_OPTIONS = tuple(params_of(Options))


def work(asked: Mapping[str, Any], folder: Path, progress: Progress, cancel: Cancel) -> None:
    """A job of `research.jobs`: train, save a version, leave `result.json` and `card.md` in the folder.

    `asked` has `training` (`learning.job.Asked.to_dict`), `symbols`, `timeframe`, `source` ('': the user's own files),
    `start` and `end` (days; for a source), and `resume`: the folder of an earlier job to go on from.
    """
    settings = settings_file.load(data_dir=folder.parent.parent)
    progress(0.0, "candles are gathered")
    data, simulated = candles(
        settings,
        list(asked.get("symbols", ())),
        str(asked.get("timeframe", "")),
        str(asked.get("source", "")),
        str(asked.get("start", "")),
        str(asked.get("end", "")),
    )
    training = dataclasses.replace(Asked.of(asked.get("training", {})), simulated=simulated)
    manager = ModelManager(Path(asked.get("out_dir") or settings.models_dir), SystemClock())
    manager.check(training.name)
    _take_up(asked.get("resume"), folder)
    lesson = teach(data, training, folder, progress, cancel)
    saved = keep(manager, lesson, training)
    told = {"called": saved.called, "name": saved.name, "version": saved.version, "sentence": lesson.sentence}
    (folder / "card.md").write_text(card(saved.said, saved.status), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def candles(
    settings: Settings, symbols: list[str], name: str = "", source: str = "", start: str = "", end: str = ""
) -> tuple[Dataset, bool]:
    """Candles to learn from, and whether they are made up: the user's own files, or those of a source, kept ones and
    own files first. DataError where there are none."""
    if not source or source == "files":
        files = registry.part("feeds", "files")(settings, SystemClock())
        return load(files, name, symbols, str(settings.files_dir)), False
    chosen = settings.model_copy(update={"data_source": source})
    market, tf = open_market(chosen, SystemClock()), timeframe(name or "1h")
    of = [instrument(symbol) for symbol in symbols or settings.watchlist]
    span = loading.span_of(start, end, of[0], tf, 0, market.clock.now())
    looked = f"{settings.files_dir}, {settings.store_dir} and the source {market.label!r}"
    loaded = asyncio.run(loading.load(market, of, tf, span, looked))
    return gathered(loaded.frames, tf.name, market.clock.now()), loaded.simulated


def keep(manager: ModelManager, lesson: Lesson, asked: Asked, version: int = 0) -> Entry:
    """Save what was learned under the next free version."""
    return manager.save(lesson.weights, lesson.about, name=asked.name, version=version)


def report(lesson: Lesson) -> str:
    """The figures as a table, the plainest baseline first, and the honest sentence."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in figures(lesson.about["metrics"])]
    rows = [row for row in rows if not row[0].startswith("---")]
    widths = [max(len(row[at]) for row in rows) for at in range(len(FIGURES) + 2)]
    lines = [
        "  ".join(cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(row))
        for row in ([*zip(row, widths, strict=True)] for row in rows)
    ]
    run, net = lesson.trained, lesson.about["metrics"]
    made = (
        f"Best epoch {run.best_epoch} of {len(run.history)}, {run.seconds:.0f} s at {run.rate:,.0f} windows a second "
        f"on {run.device}; temperature {run.temperature:.2f}."
    )
    more = [f"{n['n']} seeds: right {n['acc_mean']:.1%} ± {n['acc_std']:.1%}." for n in [net.get("seeds")] if n]
    more += [f"Walk-forward: right {n['acc_mean']:.1%} of {n['n']:,}." for n in [net.get("walk_forward")] if n]
    return "\n".join([*lines, "", made, *more, lesson.sentence])


def _take_up(earlier: Any, folder: Path) -> None:
    """The checkpoint of an earlier job, where there is one to go on from."""
    if earlier and (at := Path(str(earlier)) / job.CHECKPOINT).exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(at, folder / job.CHECKPOINT)


# The command line


def parser() -> argparse.ArgumentParser:
    """What can be asked."""
    declared, label = params_of(Options), params_of(Label)
    found = argparse.ArgumentParser(
        prog="ml_pipeline.py", description="Train a model on your candles, judge it, save it."
    )
    add = found.add_argument
    add("--data-dir", default="", help="where your candles are (data, its ohlcv folder, or a folder of files)")
    add("--symbols", nargs="+", default=[], help="only these; all of the folder where it is not given")
    add("--interval", default="", choices=["", *TIMEFRAMES], help="how long a bar is; else what most files have")
    add("--source", default="", help="candles of a source (yahoo, simulated ...) instead of your files")
    add("--start", default="", metavar="YYYY-MM-DD", help="with --source: first day; five years back where not given")
    add("--end", default="", metavar="YYYY-MM-DD", help="with --source: last day, included; today where not given")
    for name in OF_OPTIONS:
        one = declared[name]
        said = f"{one.help} ({one.default})".replace("%", "%%")
        add(f"--{name.replace('_', '-')}", type=one.kind, default=one.default, choices=one.choices or None, help=said)
    add("--label", default=label["kind"].default, choices=KINDS, help="what is asked of the model")
    add("--horizon", type=int, default=label["horizon"].default, help=label["horizon"].help)
    add("--cost-bps", type=float, default=label["cost_bps"].default, help=label["cost_bps"].help)
    add("--seeds", type=int, default=1, help="train so many times, to see how much is chance; the first is kept")
    add("--walk-forward", type=int, default=0, metavar="FOLDS", help="learn anew in so many folds beside it")
    add("--resume", action="store_true", help="go on where the same training was stopped or killed")
    add("--out-dir", default="", help="where the model goes (models)")
    add("--name", default=NAME, help="the family of models it belongs to")
    add("--version", default="auto", help="the next free number, or one that is free")
    add("--dry-run", action="store_true", help="say what would be learned from, and stop")
    add("--confirm", default="", metavar="STRATEGY", help="instead: learn which of its signals are worth following")
    add("--param", nargs="+", default=[], metavar="NAME=VALUE", help="with --confirm: how the strategy is set")
    add("--stop", default="2atr", help="with --confirm: the stop of an entry, 2atr, 1%% or 0.50")
    add("--target", default="3atr", help="with --confirm: its target, as --stop")
    return found


def asked_of(given: argparse.Namespace, simulated: bool = False) -> Asked:
    """The training that a command line asks for. ValueError names what is out of its range."""
    return Asked(
        options=Options(**{name: getattr(given, name) for name in OF_OPTIONS}),
        label=Label(given.label, horizon=given.horizon, cost_bps=given.cost_bps),
        name=given.name,
        seeds=given.seeds,
        folds=given.walk_forward,
        simulated=simulated,
    )


def place(data_dir: str) -> Any:
    """The settings over the folder that `--data-dir` names."""
    if not data_dir:
        return settings_file.load()
    at = Path(data_dir).expanduser()
    if not at.is_dir():
        raise ValueError(f"--data-dir: there is no folder {at}")
    if at.name == "ohlcv":
        return settings_file.load(data_dir=at.resolve().parent)
    settings = settings_file.load(data_dir=at)
    return settings if (at / "ohlcv").is_dir() else loading.Elsewhere(settings, at)


class Stop:
    """Ctrl+C and a polite kill, heard once: the step that runs is ended, the last epoch is kept."""

    def __init__(self) -> None:
        self.asked = False
        if threading.current_thread() is threading.main_thread():
            for sign in (signal.SIGINT, signal.SIGTERM):
                signal.signal(sign, self._heard)

    def _heard(self, sign: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(sign, signal.default_int_handler)  # a second one is not polite any more


def tell(share: float, said: str) -> None:
    """A line for each epoch and each stage; what happens within an epoch only where somebody watches."""
    if "loss" in said or not said.startswith("epoch"):
        print(f"{share:4.0%}  {said}", file=sys.stderr, flush=True)
    elif sys.stderr.isatty():
        print(f"{share:4.0%}  {said}", end="\r", file=sys.stderr, flush=True)


def run(given: argparse.Namespace, stop: Stop) -> str:
    """All of it; what to print."""
    settings = place(given.data_dir)
    data, simulated = candles(settings, given.symbols, given.interval, given.source, given.start, given.end)
    asked = asked_of(given, simulated)
    print(data.said, file=sys.stderr)
    version = _version(given.version)
    manager = ModelManager(Path(given.out_dir or settings.models_dir), SystemClock())
    manager.check(asked.name, version)
    if given.dry_run:
        ready = prepare(data, asked)
        parts = {name: len(getattr(ready.split, name)) for name in ready.split.bounds}
        counts = ", ".join(f"{name} {count:,}" for name, count in parts.items())
        return f"{len(ready.flat):,} windows of {asked.options.seq_len} bars: {counts}. Nothing was trained or saved."
    with _alone(manager.folder / ".training" / f"{asked.name}-{asked.key}-{_which(data)}") as folder:
        if not given.resume:
            for name in (job.CHECKPOINT, job.EVENTS):
                (folder / name).unlink(missing_ok=True)
        elif not (folder / job.CHECKPOINT).exists():
            print("There is nothing to go on from: it begins anew.", file=sys.stderr)
        try:
            lesson = teach(data, asked, folder, tell, lambda: stop.asked)
        except TrainingStopped as error:
            raise TrainingStopped(f"{error}. The same line with --resume goes on from there.") from None
        saved = keep(manager, lesson, asked, version)
        shutil.rmtree(folder, ignore_errors=True)
    path = manager.folder / f"{saved.called}.pth"
    return f"{report(lesson)}\n\nSaved {path}. {_way_on(saved, manager.folder, settings.models_dir)}"


def confirm(given: argparse.Namespace) -> str:
    """Learn which signals of a strategy are worth following, and save that; what to print."""
    if given.confirm == "all":
        raise ValueError("--confirm is for one strategy: got all")
    told = ["--symbol", "-", "--strategy", given.confirm, "--stop", given.stop, "--target", given.target]
    rules = command.parser().parse_args([*told, *(["--param", *given.param] if given.param else [])])
    [(called, strategy)] = command.strategies(rules).items()
    bracket = Bracket(rules.target, rules.stop, given.horizon, given.cost_bps)
    settings = place(given.data_dir)
    data, simulated = candles(settings, given.symbols, given.interval, given.source, given.start, given.end)
    print(data.said, file=sys.stderr)
    lesson = teach_on(data, called, strategy, bracket, simulated=simulated, seed=given.seed)
    if given.dry_run:
        return f"{told_of(lesson.said)}\n\nNothing was saved."
    folder = Path(given.out_dir or settings.models_dir) / ROOM
    saved = save(folder, lesson, SystemClock(), "" if given.name == NAME else given.name)
    return (
        f"{told_of(lesson.said)}\n\nSaved {folder / saved.called}.json. The filter: confirmation={saved.said['name']}."
    )


@contextmanager
def _alone(folder: Path) -> Iterator[Path]:
    """The folder of one training, for this process alone: two in it would write one checkpoint in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield folder
    except Timeout:
        raise ModelError(
            f"the same training runs already, in {folder}: wait for it, or give another --seed, --name or --out-dir"
        ) from None


def _which(data: Dataset) -> str:
    """A short name for these symbols and bars, so that trainings of others keep out of each other's way."""
    told = json.dumps([data.timeframe, sorted(data.frames)])
    return hashlib.sha256(told.encode()).hexdigest()[:6]


def _way_on(saved: Entry, folder: Path, asked: Path) -> str:
    """How the strategy comes to ask it; it asks one family in one folder."""
    if (folder.absolute(), saved.name) == (asked.absolute(), NAME):
        return f"To let the strategy lstm ask it: python model_manager.py point champion v{saved.version}"
    point = f"python model_manager.py --out-dir {folder} --name {saved.name} point champion v{saved.version}"
    return f"To name it there: {point}. The strategy lstm asks {NAME} in {asked} (MODELS_DIR) and not this one."


def _version(text: str) -> int:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise ValueError(f"--version is auto or a number above 0: got {text!r}")
    return 0 if text == "auto" else int(text)


def main(arguments: list[str] | None = None) -> int:
    """0 when a model was saved, 2 where something is missing or wrong, 130 where it was stopped."""
    given = parser().parse_args(arguments)
    try:
        print(confirm(given) if given.confirm else run(given, Stop()))
    except TrainingStopped as error:
        print(error, file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        on = "nothing was saved" if given.confirm else "the same line with --resume goes on from the last whole epoch"
        print(f"stopped at once; {on}", file=sys.stderr)
        return 130
    except (DeskError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
