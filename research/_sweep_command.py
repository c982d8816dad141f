"""The command line of sweeps: the backtester's, and ranges."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import settings as settings_file
from backtest import command
from backtest.loading import Loaded
from backtest.setup import Setup
from domain.params import params_of
from research._grid import each
from research._study_run import Step, data_of, ledger_of, load, note, variants_of
from research._study_values import Asked, Chosen
from research._task import OBJECTIVES
from research.sweep import Sweep, WalkForward, sweep, walk_forward
from research.trials import Variant
from settings import Settings
from strategies.base import find


def parser() -> argparse.ArgumentParser:
    found = command.parser()
    found.prog, found.description = "python -m research.sweep", "A strategy over a grid of its parameters."
    add = found.add_argument
    add("--range", nargs="+", default=[], metavar="NAME=LOW:HIGH[:STEP]", help="or NAME=1,2,5; all it declares without")
    add("--objective", default="sharpe", choices=OBJECTIVES, help="what is best")
    add("--jobs", type=int, default=1, help="processes; -1: every core")
    add("--cluster", default=None, metavar="tcp://HOST:8786", help="a Dask scheduler whose workers do it")
    add(
        "--walk-forward", nargs=2, type=int, metavar=("INSIDE", "OUTSIDE"), help="choose on so many bars, trade so many"
    )
    return found


def answer(arguments: list[str] | None) -> str:
    """Run what is asked for and say what was found. ValueError or DeskError where that cannot be."""
    asked = parser().parse_args(arguments)
    if asked.strategy == "all":
        raise ValueError("--strategy: a sweep takes one strategy at a time")
    cls, rules = find(asked.strategy), command.setup(asked)
    ranges = {**_ranges(cls, asked.range), **_fixed(asked)} or None
    changes, folder = command.place(asked)
    settings, telling = settings_file.load(**changes), command.Telling(sys.stderr, asked.json)
    step, warm = Step(telling, lambda: False), _warmup(cls, ranges, rules)
    loaded, _ = load(_question(asked, rules), settings, step, folder, warm)
    span = {"start": loaded.span.start, "end": loaded.span.end}
    frames = loaded.frames
    common: dict[str, Any] = {"jobs": asked.jobs, "cluster": asked.cluster, "progress": _heard(telling), **span}
    try:
        found = sweep(frames, cls, ranges, rules, asked.objective, **common)
        forward = None
        if asked.walk_forward:
            inside, outside = asked.walk_forward
            common |= {"inside": inside, "outside": outside}
            forward = walk_forward(frames, cls, ranges, rules, asked.objective, **common)
    finally:
        telling.end()
    trials = _noted(found, forward, asked, loaded, settings)
    files = _written(found, asked.out) if asked.out else []
    if asked.json:
        told = found.to_json() | {"simulated": loaded.simulated, "notes": loaded.notes, "files": files}
        told["trials"] = trials
        if forward is not None:
            told["walk_forward"] = {
                "efficiency": forward.efficiency,
                "profitable": forward.profitable,
                "drift": forward.drift,
                "windows": json.loads(forward.windows.to_json(orient="records", date_format="iso")),
            }
        return json.dumps(told, indent=1, default=str)
    banner = [command.BANNER] if loaded.simulated else []
    ledger = f"The trial ledger counts {trials:,} trials on these data, each of these combinations among them."
    said = [found.summary(), *(["", str(forward)] if forward else []), *loaded.notes, ledger, *files]
    return "\n".join([*banner, *said, *banner])


def _question(asked: argparse.Namespace, rules: Setup) -> Asked:
    """What the candles are asked for by."""
    symbols = tuple(one.symbol for one in command.symbols(asked))
    return Asked(symbols, asked.interval, asked.start, asked.end, asked.source, (Chosen(asked.strategy),), rules)


def _heard(telling: command.Telling) -> Callable[[int, int], None]:
    return lambda done, of: telling(done / of, f"sweep: {done:,} of {of:,} combinations")


def _noted(
    found: Sweep, forward: WalkForward | None, asked: argparse.Namespace, loaded: Loaded, settings: Settings
) -> int:
    """Write down what was tried; how many trials there are on these data."""
    ledger, step = ledger_of(settings), Step(lambda share, said: None, lambda: False)
    try:
        one = found.task.run(each({axis.name: found.table[axis.name].to_numpy()[:1] for axis in found.grid.axes})[0])
        tried = note(ledger, data_of(one, loaded), variants_of(found), step)
        if forward is not None:
            how = {"inside": asked.walk_forward[0], "outside": asked.walk_forward[1]} | {
                axis.name: list(axis.values) for axis in found.grid.axes
            }
            stitched = Variant.of(forward.result)
            own = replace(stitched, strategy=f"walk-forward of {found.task.strategy_class.__name__}", params=how)
            tried = ledger.note(data_of(forward.result, loaded), [own])
        return tried.count
    finally:
        ledger.close()


def _ranges(cls: type[Any], given: list[str]) -> dict[str, Any]:
    declared, found = params_of(cls), dict[str, Any]()
    for text in given:
        name, _, spec = text.partition("=")
        kind = declared[name].kind if name in declared else str
        try:
            if ":" in spec:
                found[name] = tuple(float(part) if "." in part else int(part) for part in spec.split(":"))
            else:
                found[name] = [_one(kind, part) for part in spec.split(",")]
        except ValueError:
            raise ValueError(f"--range is written fast=5:50:5 or fast=5,10,20: got {text!r}") from None
    return found


def _one(kind: type, text: str) -> Any:
    return text.lower() in ("true", "yes", "1") if kind is bool else kind(text)


def _fixed(asked: argparse.Namespace) -> dict[str, Any]:
    """What --param says stays as it is."""
    if not asked.param:
        return {}
    [made] = command.strategies(asked).values()
    return {name: [getattr(made, name)] for name in (text.partition("=")[0] for text in asked.param)}


def _warmup(cls: type[Any], ranges: dict[str, Any] | None, rules: Any) -> int:
    """Bars before the first day: as many as the largest numbers ask for, where the strategy takes them together."""
    declared = params_of(cls)
    highest = {n: _highest(declared[n], spec) for n, spec in (ranges or {}).items() if n in declared}
    try:
        made = cls(**highest)
    except ValueError:
        made = cls()
    return command.warmup({"": made}, rules)


def _highest(p: Any, spec: Any) -> Any:
    return p.kind(spec[1]) if isinstance(spec, tuple) else max(spec)


def _written(found: Sweep, folder: str) -> list[str]:
    to = Path(folder)
    to.mkdir(parents=True, exist_ok=True)
    found.table.to_csv(to / "sweep.csv", index=False)
    return [str(to / "sweep.csv")]
