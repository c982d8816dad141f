"""The command line of the backtester: what may be asked, and what is answered."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TextIO

from backtest import report
from backtest.loading import Loaded
from backtest.result import Result
from backtest.setup import Entry, Exit, Setup
from domain import params
from domain.candles import TIMEFRAMES
from domain.errors import UnknownName
from domain.fees import Commission
from domain.instruments import Instrument, instrument
from domain.matching import FillRules
from filters.base import GOOD_FOR
from filters.base import find as find_filter
from filters.base import names as filters
from strategies.base import ALSO_CALLED, find, names

BANNER = """
########################################################
##                                                    ##
##   SIMULATED PRICES: MADE UP, THERE IS NO MARKET    ##
##                                                    ##
########################################################
"""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python backtester.py", description="What a strategy would have done on past candles."
    )
    add = found.add_argument
    add("--symbol", nargs="+", required=True, help="AAPL, or several that share the cash")
    add("--start", default="", metavar="YYYY-MM-DD", help="first day; five years back where it is not given")
    add("--end", default="", metavar="YYYY-MM-DD", help="last day, included; today where it is not given")
    add("--strategy", default="rule", help=f"{', '.join((*ALSO_CALLED, *names()))}, or all to compare them")
    add("--param", nargs="+", default=[], metavar="NAME=VALUE", help="parameters of the strategy, such as fast=5")
    add("--interval", default="1d", choices=list(TIMEFRAMES), help="how long a bar is")
    add("--data-dir", default="", help="where your candles are (data, its ohlcv folder, or a folder of files)")
    add("--source", default="", help="files, yahoo, simulated ...; your files and kept candles come first")
    add("--cash", type=float, default=100_000.0, help="what the account begins with")
    add("--commission-bps", type=_bps, default=Decimal(0), help="of a trade's value, each side")
    add("--slippage-bps", type=float, default=1.0, help="beyond the spread, each side")
    add("--half-spread-bps", type=float, default=1.0, help="half the bid-ask spread, each side")
    add("--ignore-volume", action="store_true", help="for candles without volume: fill whatever is asked for")
    add("--fraction", type=float, default=1.0, help="of the equity that a full exposure is worth")
    add("--risk", type=float, default=0.0, metavar="PERCENT", help="size by what the stop would lose, such as 1")
    add("--leverage", type=float, default=1.0, help="most that all positions are worth, in equities")
    add("--long-only", action="store_true", help="never sell short")
    add("--stop", type=_exit, help="2atr, 1%% or 0.50 (money) from the fill")
    add("--target", type=_exit, help="as --stop, on the other side")
    add("--trail", type=_exit, help="a trailing stop, as --stop")
    add(
        "--filter",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "NAME=VALUE"),
        help=f"entries only where it agrees, such as volume percentile=60; again for more: {', '.join(filters())}",
    )
    add("--limit-entry", type=float, metavar="PERCENT", help="the desk enters by limit orders, so far below the bid")
    add("--wait", type=float, default=120.0, metavar="SECONDS", help="how long such an order waits")
    add(
        "--then", default="drop", choices=("drop", "chase"), help="what is not filled by then: let go, or at the market"
    )
    add("--good-for", type=int, default=GOOD_FOR, metavar="BARS", help="how long an entry waits for the filters")
    add("--universe", nargs="+", default=[], metavar="SYMBOL", help="all names one could have traded; for the verdict")
    add("--no-verdict", action="store_true", help="leave out the checks of how far to believe it")
    add("--out", default="", help="folder for the CSV files; under the data folder where it is not given")
    add("--json", action="store_true", help="print JSON, nothing else")
    return found


def symbols(asked: argparse.Namespace) -> list[Instrument]:
    """The instruments, once each; commas are as good as spaces."""
    return instruments(asked.symbol)


def instruments(given: Sequence[str]) -> list[Instrument]:
    """The instruments behind some words of a command line."""
    found = [instrument(text) for part in given for text in part.split(",") if text.strip()]
    return list({one.symbol: one for one in found}.values())


def strategies(asked: argparse.Namespace) -> dict[str, Any]:
    """The strategies asked for, by name. UnknownName or ValueError where one cannot be made."""
    wanted = names() if asked.strategy == "all" else [asked.strategy]
    if asked.strategy == "all" and asked.param:
        raise ValueError("--param is for one strategy: got --strategy all")
    if unknown := [name for name in wanted if name not in (*ALSO_CALLED, *names())]:
        raise UnknownName.of("strategy", unknown[0], (*ALSO_CALLED, *names(), "all"))
    return {name: _made(find(name), asked.param) for name in wanted}


def setup(asked: argparse.Namespace) -> Setup:
    """The rules asked for. ValueError names what is out of its range."""
    fills = FillRules(
        half_spread_bps=asked.half_spread_bps,
        slippage_bps=asked.slippage_bps,
        ignore_volume=asked.ignore_volume,
        commission=Commission(bps=asked.commission_bps),
    )
    if asked.risk and not (asked.stop or asked.trail):
        raise ValueError("--risk is what a stop would lose: add --stop or --trail, such as --stop 2atr")
    by_risk = {"sizing": "risk", "risk_per_trade": asked.risk / 100} if asked.risk else {}
    return Setup(
        cash=asked.cash,
        fills=fills,
        fraction=asked.fraction,
        leverage=asked.leverage,
        short=not asked.long_only,
        stop=asked.stop,
        target=asked.target,
        trail=asked.trail,
        filters=tuple(_made(find_filter(name), given, "--filter") for name, *given in asked.filter),
        good_for=asked.good_for,
        entry=None if asked.limit_entry is None else Entry(asked.limit_entry, asked.wait, asked.then),
        **by_risk,
    )


def warmup(made: dict[str, Any], rules: Setup) -> int:
    """Bars before the first day that all of it needs."""
    needed = [int(one.warmup) for one in (*made.values(), *rules.filters)]
    return max([*needed, *(period + 1 for period in rules.periods)])


@dataclass(frozen=True, slots=True)
class Judged:
    """A result and how far it can be believed: the box that stands on top of it, its word, and both as JSON values."""

    result: Result
    box: str
    word: str
    told: dict[str, Any] | None
    trials: int
    notes: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The first line of the box."""
        return self.box.partition("\n")[0]


def answer(
    asked: argparse.Namespace,
    judged: dict[str, Judged],
    loaded: Loaded,
    out: Path,
    compared: str = "",
    pairs: Any = None,
) -> str:
    """Write the files and say what was found. `compared` says in words which did best, `pairs` as JSON values."""
    results = {name: one.result for name, one in judged.items()}
    written = {name: result.to_csv(out / name if len(results) > 1 else out) for name, result in results.items()}
    if asked.json:
        told = {
            name: {"verdict": judged[name].told, "trials": judged[name].trials}
            | report.to_json(result)
            | {"notes": [*result.notes, *judged[name].notes], "files": list(map(str, written[name]))}
            for name, result in results.items()
        }
        whole: dict[str, Any] = {"simulated": loaded.simulated, "notes": loaded.notes, "strategies": told}
        beside = {"answer": compared, "comparison": pairs} if compared else {}
        return json.dumps(whole | beside, indent=1, default=str)
    if len(results) == 1:
        [only] = judged.values()
        text = [only.box, "", report.summary(only.result)]
    else:
        boxes = [f"{name}: {one.said}" for name, one in judged.items()]
        text = [*boxes, "", compared, "", report.compare(results, {name: one.word for name, one in judged.items()})]
    text += [f"{name}: {note}" for name, one in judged.items() for note in one.notes]
    banner = [BANNER] if loaded.simulated else []
    count = max(one.trials for one in judged.values())
    ledger = f"The trial ledger counts {count:,} trial{'s' * (count != 1)} on these data."
    files = [f"{paths[0].name} and {paths[1].name} in {paths[0].parent}" for paths in written.values()]
    return "\n".join([*banner, *text, *loaded.notes, ledger, "", *files, *banner])


class Telling:
    """Progress as lines for people: on a terminal one that changes, else a line a stage; `quiet` says nothing."""

    def __init__(self, out: TextIO, quiet: bool = False) -> None:
        self._out, self._live, self._quiet, self._stage = out, out.isatty(), quiet, ""

    def __call__(self, share: float, said: str) -> None:
        if self._quiet:
            return
        stage = said.rpartition(":")[0] or said
        if self._live:
            self._out.write(f"\r\033[K{share:4.0%} {said}")
        elif stage != self._stage:
            self._out.write(f"{share:4.0%} {stage}\n")
        self._stage = stage
        self._out.flush()

    def end(self) -> None:
        """Leave the terminal's line as if nothing had been there."""
        if self._live and self._stage:
            self._out.write("\r\033[K")
            self._out.flush()


def folder(asked: argparse.Namespace, data_dir: Path) -> Path:
    """Where the files of this run go."""
    if asked.out:
        return Path(asked.out)
    called = "-".join(one.symbol for one in symbols(asked)[:4])
    return data_dir / "backtests" / f"{called}_{asked.interval}_{asked.strategy}"


def place(asked: argparse.Namespace) -> tuple[dict[str, Any], Path | None]:
    """What `--data-dir` means: settings to change, and the folder of files where they lie in it directly."""
    if not asked.data_dir:
        return {}, None
    at = Path(asked.data_dir).expanduser()
    if not at.is_dir():
        raise ValueError(f"--data-dir: there is no folder {at}")
    if at.name == "ohlcv":
        return {"data_dir": at.resolve().parent}, None
    return {"data_dir": at}, None if (at / "ohlcv").is_dir() else at


def _made(cls: type[Any], given: Sequence[str], option: str = "--param") -> Any:
    declared, values = params.params_of(cls), {}
    for text in given:
        name, found, value = text.partition("=")
        if not found:
            raise ValueError(f"{option} takes name=value, such as bars=5: got {text!r}")
        known = declared.get(name)
        values[name] = _value(value, known.kind if known else str, f"{option} {text}")
    return params.build(cls, values)


def _value(text: str, kind: type, given: str) -> Any:
    if kind is bool:
        if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
            raise ValueError(f"{given}: yes or no is needed")
        return text.lower() in ("true", "yes", "1")
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{given}: {text!r} is no {kind.__name__}") from None


def _bps(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("NaN")
    if not (found.is_finite() and 0 <= found <= 10_000):
        raise argparse.ArgumentTypeError(f"basis points are a number from 0 to 10000: got {text!r}")
    return found


def _exit(text: str) -> Exit:
    read = re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*(atr[0-9]*|%|)", text.strip().lower())
    if not read:
        raise argparse.ArgumentTypeError(f"an exit is written 2atr, 1% or 0.50: got {text!r}")
    kind = {"%": "pct", "": "price distance"}.get(read[2], "atr")
    period = int(read[2].removeprefix("atr") or 14) if kind == "atr" else 14
    try:
        return Exit(kind, float(read[1]), period)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
