"""What speaks for a strategy: its newest judged backtest among the finished jobs, and its days at work in a ledger.

The rule: the engine reads this itself, from files that it does not write; no figure that a person or a page names
counts.
What cannot be read is an `Unread` that says why, and counts for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from backtest.setup import Setup
from desk.adoptions import Adoption, Done
from desk.database import Database
from desk.nights import Night
from desk.own_trades import OwnTrades, Trade
from desk.reader import Reader
from desk.rungs import Stage
from desk.schema import EPOCH, bar_decision
from domain.calendars import NEW_YORK
from domain.errors import DeskError
from domain.instruments import instrument
from domain.metrics import Metric
from domain.params import build
from research._study_files import FORMAT
from strategies.base import find

ZERO = Decimal(0)
MOST_JOBS = 500
_JOBS: Any = (
    sa.select(sa.column("id"), sa.column("asked"), sa.column("finished"))
    .select_from(sa.table("jobs"))
    .where(sa.column("kind") == "backtest", sa.column("state") == "done")
    .order_by(sa.column("number").desc())
    .limit(MOST_JOBS)
)
_NOT_AT_WORK = [Done.MISSED, Done.FAULT, Done.SHADOW]
# In hours since 1970: every day of New York begins with one, and a session has few of them.
_HOUR = sa.type_coerce(bar_decision.c.at, sa.BigInteger) // sa.literal(3_600_000_000, sa.BigInteger)
_DECIDED: Any = (
    sa.select(_HOUR.label("hour"))
    .where(
        bar_decision.c.adoption == sa.bindparam("of_id"),
        bar_decision.c.at >= sa.bindparam("since"),
        bar_decision.c.done.not_in(_NOT_AT_WORK),
    )
    .distinct()
)


class Unread(DeskError):
    """It is not there, or cannot be read; the words say what and what would help."""


# Its backtest


@dataclass(frozen=True, slots=True)
class Backtested:
    """A judged backtest: of which job, from when to when, its verdict in a word, its win rate over how many trades."""

    job: str
    first: str
    last: str
    verdict: str
    win_rate: Metric

    @property
    def words(self) -> str:
        return f"the backtest {self.job} of {self.first[:10]} to {self.last[:10]}"


def backtested(url: str, adoption: Adoption, *, simulated: bool) -> Backtested:
    """The newest finished and judged backtest of this very strategy, with its parameters, symbols, interval and rules;
    `simulated`: made up prices will do. Unread where there is none. Money, and whether exits are counted from the fill
    or the signal, may differ: the desk has its own."""
    for job, folder in _jobs(url, adoption):
        for run in _runs(folder, adoption, simulated=simulated):
            stamp = run["stamp"]
            rate = Metric(**run["metrics"]["win_rate"])
            return Backtested(job, str(stamp["from"]), str(stamp["to"]), str(run["verdict"]["verdict"]), rate)
    real = "" if simulated else ", over real prices,"
    raise Unread(
        f"No finished backtest with a verdict{real} was made of {adoption.label} under the rules it was adopted with: "
        "run it on the Backtest page, with its verdict."
    )


def _jobs(url: str, adoption: Adoption) -> Iterator[tuple[str, Path]]:
    """Finished backtests that may be of it, the newest first."""
    database = Database(url, read_only=True)
    try:
        if database.path is None or database.missing:
            return
        with database.read() as db:
            found = db.execute(_JOBS).all()
    finally:
        database.close()
    for row in found:
        asked = json.loads(row.asked)
        if asked.get("interval", "1d") == adoption.interval and set(adoption.symbols) <= set(asked.get("symbols", ())):
            yield row.id, database.path.parent / "jobs" / row.id


def _runs(folder: Path, adoption: Adoption, *, simulated: bool) -> Iterator[dict[str, Any]]:
    """The judged runs of a study that are of this very strategy. One that cannot be read is none."""
    try:
        told = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        if told["format"] != FORMAT or (told["simulated"] and not simulated):
            return
        for run in told["runs"]:
            if run["verdict"] and _same(run, adoption):
                yield run
    except (OSError, KeyError, TypeError, ValueError, DeskError):
        return


def _same(run: Mapping[str, Any], adoption: Adoption) -> bool:
    stamp = run["stamp"]
    return (
        run["strategy"] == adoption.strategy
        and set(stamp["data"]) == set(adoption.symbols)
        and build(find(run["strategy"]), dict(run["params"])) == adoption.made
        and _rules(Setup.of(stamp["setup"])) == _rules(adoption.setup)
    )


def _rules(setup: Setup) -> Setup:
    return replace(setup, cash=10_000.0, exits_from="signal")


# Its days at work


@dataclass(frozen=True, slots=True)
class Work:
    """What a strategy did on its rung. `days`: calendar days from the first bar it decided on to the last, less the
    sessions between (`idle`) in which it decided none. `trades` that closed there, `open_profit` what those still
    open brought so far; None where a price is missing. `nights`: what was compared."""

    since: datetime
    first: date | None
    last: date | None
    days: int
    idle: int
    trades: tuple[Trade, ...] = ()
    open_profit: Decimal | None = ZERO
    nights: tuple[Night, ...] = field(default=())

    @property
    def won(self) -> int:
        return sum((trade.profit or ZERO) > 0 for trade in self.trades)

    @property
    def profit(self) -> Decimal | None:
        """After fees, what is held valued now; None where that has no price."""
        closed = sum((trade.profit or ZERO for trade in self.trades), ZERO)
        return None if self.open_profit is None else closed + self.open_profit


def at_work(reader: Reader, adoption: Adoption, stage: Stage, prices: Mapping[str, Decimal]) -> Work:
    """What it did since it came to the rung it is on."""
    hours = (row.hour for row in reader.rows(_DECIDED, of_id=adoption.id, since=stage.since))
    days = sorted({_day(EPOCH + timedelta(hours=hour)) for hour in hours})
    trades, open_profit = _trades(reader, adoption, stage.since, prices)
    nights = tuple(stage.nights)
    if not days:
        return Work(stage.since, None, None, 0, 0, trades, open_profit, nights)
    idle = _idle(adoption, days)
    worked = max((days[-1] - days[0]).days - idle, 0)
    return Work(stage.since, days[0], days[-1], worked, idle, trades, open_profit, nights)


def same_strategy(one: Adoption, other: Adoption) -> bool:
    """Whether two adoptions, of two desks perhaps, are of the same strategy under the same rules."""
    try:
        return (
            (one.strategy, one.interval, set(one.symbols)) == (other.strategy, other.interval, set(other.symbols))
            and one.made == other.made
            and _rules(one.setup) == _rules(other.setup)
        )
    except (DeskError, ValueError, TypeError):
        return False


def _idle(adoption: Adoption, days: list[date]) -> int:
    """Sessions between the first day and the last on which it decided nothing."""
    calendar = instrument(adoption.symbols[0]).calendar
    all_days = calendar.sessions.days
    first, last = np.searchsorted(all_days, [np.datetime64(days[0], "D"), np.datetime64(days[-1], "D")])
    return len(set(all_days[first : last + 1].tolist()) - set(days))


def _day(moment: datetime) -> date:
    return moment.astimezone(NEW_YORK).date()


def _trades(
    reader: Reader, adoption: Adoption, since: datetime, prices: Mapping[str, Decimal]
) -> tuple[tuple[Trade, ...], Decimal | None]:
    """What it opened and closed again, closed from `since` on, and what those still open brought at these prices."""
    found = OwnTrades(adoption).refresh(reader)
    closed = tuple(trade for trade in found.closed if trade.closed is not None and trade.closed >= since)
    held = {symbol: line.own for symbol, line in found.book.lines.items() if line.own}
    if any(symbol not in prices for symbol in held):
        return closed, None
    flows = sum((found.book.lines[symbol].cash for symbol in held), ZERO)
    past = sum((trade.profit or ZERO for trade in found.closed if trade.symbol in held), ZERO)
    return closed, flows - past + sum((own * prices[symbol] for symbol, own in held.items()), ZERO)


def newest(found: Iterable[Adoption], like: Adoption) -> Adoption | None:
    """The one of the same strategy that was adopted last."""
    same = [one for one in found if same_strategy(one, like)]
    return max(same, key=lambda one: one.since, default=None)
