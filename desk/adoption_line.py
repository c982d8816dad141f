"""Strategies at work on the command line: the wish in the backtester's own words, and what is at work.

python trading_bot.py --adopt sma_crossover --param fast=5 slow=15 --symbols AAPL NVDA --interval 5m --stop 2atr
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from backtest import command
from desk.adoptions import Adoption, decisions, history
from desk.ladder import Standing, standing
from desk.own_book import OwnBook
from desk.place import Place
from desk.reader import Reader
from domain.clock import Clock
from domain.commands import Kind
from domain.params import params_of

CASH = 10_000.0
_OTHERWISE = {"--symbols": "--symbol"}
_STEPS = {
    "retire": Kind.RETIRE,
    "promote": Kind.PROMOTE,
    "demote": Kind.DEMOTE,
    "pause": Kind.PAUSE_STRATEGY,
    "resume": Kind.RESUME_STRATEGY,
}


def wish(name: str, rest: Sequence[str]) -> dict[str, Any]:
    """The payload of ADOPT for these arguments, which are those of `backtester.py`. A fault ends the program with its
    sentence, as argparse does."""
    parser = command.parser()
    parser.prog = f"python trading_bot.py --adopt {name}"
    parser.usage = f"{parser.prog} --symbols AAPL NVDA --interval 5m ... (further arguments as for backtester.py)"
    parser.set_defaults(cash=CASH)
    asked = parser.parse_args(["--strategy", name, *(_OTHERWISE.get(word, word) for word in rest)])
    try:
        symbols, [(called, made)] = command.symbols(asked), command.strategies(asked).items()
        setup = command.setup(asked)
    except ValueError as error:
        parser.error(str(error))
    return {
        "strategy": called,
        "params": _params(made),
        "symbols": [one.symbol for one in symbols],
        "interval": asked.interval,
        "setup": setup.to_dict(),
    }


def _params(made: Any) -> dict[str, Any]:
    return {name: getattr(made, name) for name in params_of(type(made))}


def asked_of(given: argparse.Namespace) -> tuple[Kind, dict[str, Any]] | None:
    """The command that these arguments ask for of a strategy at work; None for none."""
    for name, kind in _STEPS.items():
        if found := getattr(given, name):
            more = {"symbol": given.only} if kind is Kind.PROMOTE and given.only else {}
            return kind, {"id": found, **more}
    return None


def ladder(place: Place, reader: Reader, clock: Clock, found: Sequence[Adoption]) -> str:
    """Where each of them stands, what is met and what is missing for the next rung, and how it came there."""
    told = (standing(place, reader, clock, one) for one in found)
    return "\n".join(line for one in told for line in _rung_lines(one)) or "no strategy is at work on this desk"


def _rung_lines(one: Standing) -> list[str]:
    lines = [f"{one.adoption.id}  {one.rung} since {one.stage.since:%Y-%m-%d %H:%M} UTC  {one.adoption.label}"]
    lines += [f"    bound     {said}" for said in one.caps]
    if one.toward is not None:
        where = "" if one.next is not None else ", where orders leave this machine"
        enforced = "needs" if one.bound else "would do well with"
        lines.append(f"    next      {one.toward}{where}, which {enforced}:")
        lines += [f"    [{'x' if need.done else ' '}] {need.name:<12} {need.said}" for need in one.needs]
    steps = [step for step in one.history if step.night is None]
    lines += [f"    {step.at:%Y-%m-%d}  {step.why} to {step.rung} by {step.actor}: {step.reason}" for step in steps]
    return [*lines, *([f"    night     {one.night.words}"] if one.night is not None else [])]


def listed(reader: Reader, found: Sequence[Adoption]) -> str:
    """Each strategy at work in a few lines."""
    return "\n".join(line for one in found for line in _lines(reader, one)) or "no strategy is at work on this desk"


def _lines(reader: Reader, one: Adoption) -> list[str]:
    book = OwnBook(one).refresh(reader)
    lines = [
        f"{one.id}  {one.state}  {one.label}, in account {one.account} since {one.since:%Y-%m-%d %H:%M} UTC",
        f"    rules     {one.setup.words}",
        f"    money     {book.cash:,.2f} of {Decimal(str(one.setup.cash)):,.2f} and what it holds, {book.fills} fills",
    ]
    if one.reason != "adopted":
        lines.append(f"    {one.state:<9} {history(reader, one.id)[-1][0]:%Y-%m-%d %H:%M} UTC: {one.reason}")
    for symbol in one.symbols:
        last = next(iter(decisions(reader, one.id, symbol)), None)
        said = f"{last.bar_time:%d %b %H:%M} UTC: {last.done}. {last.said}" if last else "no bar has closed since"
        lines.append(f"    {symbol:<9} holds {book.own(symbol).normalize():f}; {said}")
    return lines


def add_to(parser: argparse.ArgumentParser) -> None:
    """What the engine's command line has for it."""
    parser.add_argument(
        "--adopt", metavar="NAME", help="put a strategy to work; then as for backtester.py, --cash its money"
    )
    parser.add_argument(
        "--retire", metavar="ID", help="let a strategy at work go; what it holds stays, under its stops"
    )
    parser.add_argument("--adopted", action="store_true", help="the strategies at work")
    parser.add_argument("--promote", metavar="ID", help="up to the next rung of the ladder (docs/ladder.md)")
    parser.add_argument("--only", metavar="SYMBOL", help="with --promote: the one symbol it trades small")
    parser.add_argument("--demote", metavar="ID", help="down a rung; what it holds stays, under its stops")
    parser.add_argument("--pause", metavar="ID", help="ask it no more until it is resumed")
    parser.add_argument("--resume", metavar="ID", help="ask it again")
    parser.add_argument("--ladder", metavar="ID", nargs="?", const="", help="where it stands and what is missing")
