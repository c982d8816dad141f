"""A study as files: frames as Parquet, everything else in `study.json`. What is read back is what was written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from domain.errors import DataError
from domain.metrics import Metric
from research._study_values import Asked, Run, Study, Surface

FORMAT = 1
_PLAIN = ("label", "strategy", "params", "verdict", "fan_said", "stamp")
_FRAMES = ("curve", "trades", "monthly", "fan")
_SHAPE = ("x", "y", "objective", "plateau", "best", "centre", "tried", "refused")


def save(study: Study, folder: Path | str) -> None:
    """Write it. The JSON comes last: a folder that has it is whole."""
    to = Path(folder)
    to.mkdir(parents=True, exist_ok=True)
    labels = {name: _write(frame, to / f"{name}.parquet") for name, frame in _frames(study)}
    told = {
        "format": FORMAT,
        "asked": study.asked.to_dict(),
        "made": study.made,
        "simulated": study.simulated,
        "source": study.source,
        "notes": list(study.notes),
        "symbols": list(study.candles),
        "answer": study.answer,
        "compared": study.comparison is not None,
        "runs": [_told(run) for run in study.runs],
        "surface": {n: getattr(study.surface, n) for n in _SHAPE} if study.surface is not None else None,
        "labels": labels,
    }
    (to / "study.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def load(folder: Path | str) -> Study:
    """The study in a folder. DataError where there is none, or none of this version."""
    at = Path(folder)
    try:
        told = json.loads((at / "study.json").read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise DataError(f"{at}: a study of format {told['format']}; this version reads {FORMAT}: ask again")
        return _study(told, at)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise DataError(f"{at}: there is no whole study here ({type(error).__name__}: {error}); ask again") from error


def _study(told: dict[str, Any], at: Path) -> Study:
    def frame(name: str) -> pd.DataFrame:
        return _read(at / f"{name}.parquet", told["labels"][name])

    def run_of(number: int, told: dict[str, Any]) -> Run:
        given = {name: told[name] for name in _PLAIN} | {name: frame(f"run{number}-{name}") for name in _FRAMES}
        given["metrics"] = {key: Metric(**values) for key, values in told["metrics"].items()}
        given["returns"] = frame(f"run{number}-returns").iloc[:, 0]
        return Run(**given, notes=tuple(told["notes"]))

    runs = tuple(run_of(number, run) for number, run in enumerate(told["runs"]))
    shape = told["surface"]
    return Study(
        asked=Asked.of(told["asked"]),
        made=told["made"],
        simulated=told["simulated"],
        source=told["source"],
        notes=tuple(told["notes"]),
        candles={symbol: frame(f"candles{n}") for n, symbol in enumerate(told["symbols"])},
        benchmark=frame("benchmark").iloc[:, 0],
        runs=runs,
        answer=told["answer"],
        comparison=frame("comparison") if told["compared"] else None,
        surface=Surface(heat=frame("heat"), top=frame("top"), **shape) if shape is not None else None,
    )


def _told(run: Run) -> dict[str, Any]:
    plain = {name: getattr(run, name) for name in _PLAIN}
    return plain | {"metrics": {key: asdict(m) for key, m in run.metrics.items()}, "notes": list(run.notes)}


def _frames(study: Study) -> Iterator[tuple[str, pd.DataFrame]]:
    for number, frame in enumerate(study.candles.values()):
        yield f"candles{number}", frame
    yield "benchmark", study.benchmark.to_frame()
    for number, run in enumerate(study.runs):
        yield from ((f"run{number}-{name}", getattr(run, name)) for name in _FRAMES)
        yield f"run{number}-returns", run.returns.to_frame()
    if study.comparison is not None:
        yield "comparison", study.comparison
    if study.surface is not None:
        yield "heat", study.surface.heat
        yield "top", study.surface.top


def _write(frame: pd.DataFrame, path: Path) -> list[Any]:
    """Parquet knows columns by text only: what they are really called is given back."""
    plain = frame.set_axis([str(n) for n in range(frame.shape[1])], axis=1)
    plain.to_parquet(path)
    return [frame.columns.name, frame.columns.tolist()]


def _read(path: Path, labels: list[Any]) -> pd.DataFrame:
    called, names = labels
    return pd.read_parquet(path).set_axis(pd.Index(names, name=called), axis=1)
