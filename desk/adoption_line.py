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
from desk.own_book import OwnBook
from desk.reader import Reader
from domain.params import params_of

CASH = 10_000.0
_OTHERWISE = {"--symbols": "--symbol"}


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
        "--adopt", metavar="NAME", help="let a strategy trade on paper; then as for backtester.py, --cash its money"
    )
    parser.add_argument(
        "--retire", metavar="ID", help="let a strategy at work go; what it holds stays, under its stops"
    )
    parser.add_argument("--adopted", action="store_true", help="the strategies at work")
