"""The command line of sweeps: the backtester's, and ranges."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import settings as settings_file
from backtest import command, loading
from domain.candles import timeframe
from domain.clock import SystemClock
from domain.params import params_of
from feeds.market import open_market
from research._task import OBJECTIVES
from research.sweep import Sweep, sweep, walk_forward
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
    cls, rules, of = find(asked.strategy), command.setup(asked), command.symbols(asked)
    ranges = {**_ranges(cls, asked.range), **_fixed(asked)} or None
    loaded = _load(asked, of, _warmup(cls, ranges, rules))
    span = {"start": loaded.span.start, "end": loaded.span.end}
    frames = loaded.frames
    common: dict[str, Any] = {"jobs": asked.jobs, "cluster": asked.cluster, **span}
    found = sweep(frames, cls, ranges, rules, asked.objective, **common)
    forward = None
    if asked.walk_forward:
        inside, outside = asked.walk_forward
        forward = walk_forward(frames, cls, ranges, rules, asked.objective, inside=inside, outside=outside, **common)
    files = _written(found, asked.out) if asked.out else []
    if asked.json:
        told = found.to_json() | {"simulated": loaded.simulated, "notes": loaded.notes, "files": files}
        if forward is not None:
            told["walk_forward"] = {
                "efficiency": forward.efficiency,
                "profitable": forward.profitable,
                "drift": forward.drift,
                "windows": json.loads(forward.windows.to_json(orient="records", date_format="iso")),
            }
        return json.dumps(told, indent=1, default=str)
    banner = [command.BANNER] if loaded.simulated else []
    said = [found.summary(), *(["", str(forward)] if forward else []), *loaded.notes, *files]
    return "\n".join([*banner, *said, *banner])


def _load(asked: argparse.Namespace, of: Any, warm: int) -> loading.Loaded:
    changes, files = command.place(asked)
    settings = settings_file.load(**changes)
    chosen = asked.source or ("files" if settings.data_source == "simulated" else settings.data_source)
    settings = settings_file.load(**changes, data_source=chosen)
    here = loading.Elsewhere(settings, files) if files else settings
    market, tf = open_market(here, SystemClock()), timeframe(asked.interval)  # type: ignore[arg-type]
    span = loading.span_of(asked.start, asked.end, of[0], tf, warm, market.clock.now())
    looked = f"{here.files_dir}, {here.store_dir} and the source {market.label!r} (--source changes it)"
    return asyncio.run(loading.load(market, of, tf, span, looked))


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
