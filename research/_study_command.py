"""The command line of the backtester, answered by the same work as a page's question."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from backtest import command
from domain.params import params_of
from research._study_run import Ran, Step, answered
from research._study_values import NOT_JUDGED, Asked, Chosen
from settings import Settings

LEFT_OUT = "Not judged (--no-verdict): nothing here says how far to believe it."


def answer_on(
    asked: argparse.Namespace, settings: Settings, files: Path | None, progress: Callable[[float, str], None]
) -> str:
    """Run what is asked for, write the files, and say what was found. ValueError or DeskError where that cannot be."""
    made = command.strategies(asked)
    found = answered(question(asked, made), settings, Step(progress, lambda: False), files)
    judged = {name: judged_of(ran) for name, ran in zip(made, found.runs, strict=True)}
    compared, pairs = "", None
    if len(judged) > 1:
        from research.study import told

        study = told(found, Step(progress, lambda: False, 0.97, 1.0))
        assert study.comparison is not None
        compared, pairs = study.answer, json.loads(study.comparison.to_json(orient="records", double_precision=15))
    end = getattr(progress, "end", None)
    if end is not None:
        end()
    return command.answer(asked, judged, found.loaded, command.folder(asked, settings.data_dir), compared, pairs)


def question(asked: argparse.Namespace, made: dict[str, object]) -> Asked:
    """The question behind the options."""
    return Asked(
        symbols=tuple(one.symbol for one in command.symbols(asked)),
        interval=asked.interval,
        start=asked.start,
        end=asked.end,
        source=asked.source,
        strategies=tuple(
            Chosen(name, {n: getattr(one, n) for n in params_of(type(one))}) for name, one in made.items()
        ),
        setup=command.setup(asked),
        judged=not asked.no_verdict,
        universe=tuple(one.symbol for one in command.instruments(asked.universe)),
    )


def judged_of(ran: Ran) -> command.Judged:
    """A run with its box, for the command line."""
    box = ran.verdict
    if box is None:
        return command.Judged(ran.result, LEFT_OUT, NOT_JUDGED, None, ran.tried.count, ran.notes)
    return command.Judged(ran.result, str(box), box.word, box.to_dict(), ran.tried.count, ran.notes)
