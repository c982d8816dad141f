"""The trial ledger: how often somebody has looked. Every variant ever tried on a data set is a row in it.

    ledger = TrialLedger("sqlite:///data/research.db")
    tried = ledger.note(DataSet.of(result), [Variant.of(result, strategy)])
    verdict(candles, strategy, setup, result, tried)

The rule: rows are only ever added, and the count only grows. Triggers refuse a change or a removal, and a file whose
rows do not number 1, 2, 3 ... is not believed. Data sets that share a stretch of prices (or a symbol's span) are one:
neither a bar more or less nor another name starts the count anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from desk.database import Database
from domain.clock import Clock, SystemClock
from domain.errors import LedgerConflict, LedgerUnusable
from research._trial_values import DataSet, Lockbox, Tried, Variant

__all__ = ["DataSet", "Lockbox", "TrialLedger", "Tried", "Variant"]

_AT_ONCE = 500  # names in one question to the database

_metadata = sa.MetaData()


def _table(name: str, *columns: sa.Column[Any] | sa.UniqueConstraint) -> sa.Table:
    """A table whose rows are numbered without a gap and stay as they were written."""
    table = sa.Table(name, _metadata, sa.Column("number", sa.Integer, primary_key=True), *columns)
    for verb in ("UPDATE", "DELETE"):
        _trigger(table, f"BEFORE {verb}", "1", f"{name} is only ever added to")
    _trigger(
        table,
        "BEFORE INSERT",
        f"NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM {name})",  # noqa: S608 - our own names
        f"{name}: rows follow one another",
    )
    return table


def _trigger(table: sa.Table, when: str, only: str, said: str) -> None:
    called = f"{table.name}_{when.split()[1].lower()}"
    text = f"CREATE TRIGGER {called} {when} ON {table.name} WHEN {only} BEGIN SELECT RAISE(ABORT, '{said}'); END"
    rule: sa.DDL = sa.DDL(text)  # type: ignore[no-untyped-call]
    sa.event.listen(table, "after_create", rule)


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def _whole(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False)


_data = _table("data_sets", _text("data"), _whole("first"), _whole("last"), _text("words"), sa.UniqueConstraint("data"))
_marks = _table("data_marks", _text("data"), _text("mark"), sa.UniqueConstraint("data", "mark"))
_symbols = _table("data_symbols", _text("data"), _text("symbol"), sa.UniqueConstraint("data", "symbol"))
_trials = _table(
    "trials",
    _text("data"),
    _text("variant"),
    _text("strategy"),
    _text("params"),
    _text("setup"),
    sa.Column("sharpe", sa.Float),
    _text("outcome"),
    _text("at"),
    sa.UniqueConstraint("data", "variant", "outcome"),
)
_boxes = _table("lockboxes", _text("data"), _whole("first"), _whole("last"), _text("at"))
_openings = _table("openings", _whole("lockbox"), _text("variant"), _text("how"), _text("at"))
_TABLES = (_data, _marks, _symbols, _trials, _boxes, _openings)

sa.Index("marks_by_mark", _marks.c.mark)
sa.Index("symbols_by_symbol", _symbols.c.symbol)


class TrialLedger:
    """One SQLite file; safe to use from many processes, each change is one transaction. LedgerError where it cannot."""

    def __init__(self, url: str = "sqlite:///data/research.db", clock: Clock | None = None) -> None:
        if not url.startswith("sqlite:"):
            raise LedgerUnusable(f"the trial ledger is an SQLite file (sqlite:///data/research.db): got {url}")
        self._clock, self._database = clock or SystemClock(), Database(url)
        self._database.create()
        with self._database.write() as db:
            _metadata.create_all(db)
            self._sound(db)

    # Trials

    def note(self, data: DataSet, variants: Iterable[Variant]) -> Tried:
        """Write down what was tried and give the count with it. What is known already is not written twice. A variant
        whose data reach into a closed lockbox has opened it."""
        noted = list(variants)
        if not noted:
            raise ValueError("nothing was tried: give at least one variant")
        with self._database.write() as db:
            self._sound(db)
            self._add_data(db, data)
            self._add_trials(db, data, noted)
            box = self._box(db, data)
            if box is not None and box.opened_by is None and box.within(data):
                self._open(db, box, noted[0].key if len(noted) == 1 else "", "looked into")
            return self._tried(db, data, noted[-1])

    def tried(self, data: DataSet, variant: Variant | None = None) -> Tried:
        """What has been tried so far on these data, and on any that share prices with them."""
        with self._database.read() as db:
            self._sound(db)
            return self._tried(db, data, variant)

    # The lockbox

    def seal(self, data: DataSet, since: str) -> Lockbox:
        """Lock the bars from `since` (a date, UTC) on away, before any search. A data set has one lockbox for good."""
        first = data.moment(since)
        with self._database.write() as db:
            self._sound(db)
            if (old := self._box(db, data)) is not None:
                raise LedgerConflict(f"{data.words}: {old.words} is its lockbox, and there is only one")
            if self._reaching(db, data, first):
                raise LedgerConflict(f"{data.words}: bars from {since} on have been tried already; nothing is left")
            self._add_data(db, data)
            row = {"data": data.key, "first": first, "last": data.last, "at": self._now()}
            self._insert(db, _boxes, [row])
            box = self._box(db, data)
            assert box is not None
            return box

    def open_lockbox(self, data: DataSet, variant: Variant) -> Lockbox:
        """Open it for one variant, once and for good. LedgerConflict where there is none, or it was opened before."""
        with self._database.write() as db:
            self._sound(db)
            box = self._box(db, data)
            if box is None:
                raise LedgerConflict(f"{data.words}: no lockbox was sealed")
            if box.opened_by is not None:
                raise LedgerConflict(f"{data.words}: {box.words} was opened on {box.opened_at}; a lockbox opens once")
            self._open(db, box, variant.key, "opened")
            return replace(box, opened_by=variant.key, opened_at=self._now())

    def close(self) -> None:
        self._database.close()

    # Inside a transaction

    def _sound(self, db: sa.Connection) -> None:
        """Rows number 1 to their count, the triggers are there, and each data set has what it was noted for: a gap
        means that somebody took some out."""
        found = {row[0] for row in db.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))}
        for table in _TABLES:
            count, last = db.execute(sa.select(sa.func.count(), sa.func.max(table.c.number)).select_from(table)).one()
            missing = {f"{table.name}_{verb}" for verb in ("update", "delete", "insert")} - found
            if count != (last or 0) or missing:
                raise LedgerUnusable(f"{self._database.name}: {table.name} has been tampered with; restore a backup")
        noted = sa.exists().where(_trials.c.data == _data.c.data) | sa.exists().where(_boxes.c.data == _data.c.data)
        if (left := db.execute(sa.select(_data.c.words).where(~noted).limit(1)).first()) is not None:
            raise LedgerUnusable(f"{self._database.name}: the trials on {left.words} are gone; restore a backup")

    def _insert(self, db: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            last = db.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.number), 0))).scalar_one()
            db.execute(sa.insert(table), [{"number": last + at, **row} for at, row in enumerate(rows, 1)])

    def _add_data(self, db: sa.Connection, data: DataSet) -> None:
        if db.execute(sa.select(_data.c.number).where(_data.c.data == data.key)).first():
            return
        row = {"data": data.key, "first": data.first, "last": data.last, "words": data.words}
        self._insert(db, _data, [row])
        self._insert(db, _marks, [{"data": data.key, "mark": mark} for mark in sorted(data.marks)])
        self._insert(db, _symbols, [{"data": data.key, "symbol": symbol} for symbol in sorted(data.symbols)])

    def _add_trials(self, db: sa.Connection, data: DataSet, variants: list[Variant]) -> None:
        known = sa.select(_trials.c.variant, _trials.c.outcome).where(_trials.c.data == data.key)
        seen, rows, now = {tuple(row) for row in db.execute(known)}, [], self._now()
        for one in variants:
            key, outcome = one.key, one.outcome
            if (key, outcome) in seen:
                continue
            seen.add((key, outcome))
            what = {"strategy": one.strategy, "params": _json(one.params), "setup": _json(one.setup)}
            rows.append({"data": data.key, "variant": key, **what, "sharpe": one.sharpe, "outcome": outcome, "at": now})
        self._insert(db, _trials, rows)

    def _alike(self, db: sa.Connection, data: DataSet) -> list[str]:
        """Keys of the data sets that share prices with this one, or a symbol at the same time."""
        found = {data.key}
        marks, symbols = sorted(data.marks), sorted(data.symbols)
        for at in range(0, len(marks), _AT_ONCE):
            some = sa.select(_marks.c.data).where(_marks.c.mark.in_(marks[at : at + _AT_ONCE])).distinct()
            found.update(db.execute(some).scalars())
        for at in range(0, len(symbols), _AT_ONCE):
            together = (_data.c.first <= data.last) & (_data.c.last >= data.first)
            named = _symbols.c.symbol.in_(symbols[at : at + _AT_ONCE])
            joined = sa.join(_symbols, _data, _symbols.c.data == _data.c.data)
            found.update(db.execute(sa.select(_data.c.data).select_from(joined).where(named & together)).scalars())
        return sorted(found)

    def _rows(self, db: sa.Connection, data: DataSet) -> list[Any]:
        """Trials on data alike, oldest first."""
        alike = self._alike(db, data)
        rows: list[Any] = []
        joined = sa.join(_trials, _data, _trials.c.data == _data.c.data)
        columns = (_trials.c.number, _trials.c.variant, _trials.c.strategy, _trials.c.sharpe)
        for at in range(0, len(alike), _AT_ONCE):
            among = _trials.c.data.in_(alike[at : at + _AT_ONCE])
            rows += db.execute(sa.select(*columns, _data.c.first, _data.c.last).select_from(joined).where(among))
        return sorted(rows, key=lambda row: int(row.number))

    def _tried(self, db: sa.Connection, data: DataSet, variant: Variant | None) -> Tried:
        counted: list[float | None] = []
        until: dict[tuple[str, int], int] = {}
        for row in self._rows(db, data):
            begun = (row.variant, row.first)
            grown = begun in until and row.last > until[begun]  # the same variant, asked again as bars were added
            until[begun] = max(row.last, until.get(begun, row.last))
            if not grown:
                counted.append(row.sharpe)
        sharpes, key = tuple(s for s in counted if s is not None), variant.key if variant is not None else ""
        return Tried(len(counted), sharpes, self._elsewhere(db, data, key), key, self._box(db, data))

    def _elsewhere(self, db: sa.Connection, data: DataSet, variant: str) -> int:
        """On how many data sets of other symbols the same variant was tried."""
        same = sa.select(_trials.c.data).where(_trials.c.variant == variant).distinct()
        own = sa.select(_symbols.c.data).where(_symbols.c.symbol.in_(sorted(data.symbols)[:_AT_ONCE])).distinct()
        near = {*self._alike(db, data), *db.execute(own).scalars()}
        return len(set(db.execute(same).scalars()) - near)

    def _reaching(self, db: sa.Connection, data: DataSet, first: int) -> bool:
        return any(row.last >= first for row in self._rows(db, data))

    def _box(self, db: sa.Connection, data: DataSet) -> Lockbox | None:
        alike = self._alike(db, data)
        for row in db.execute(sa.select(_boxes).order_by(_boxes.c.number)):
            if row.data in alike:
                opening = sa.select(_openings).where(_openings.c.lockbox == row.number).order_by(_openings.c.number)
                first = db.execute(opening).first()
                by, at = (first.variant, first.at) if first is not None else (None, None)
                return Lockbox(row.number, row.first, row.last, by, at)
        return None

    def _open(self, db: sa.Connection, box: Lockbox, variant: str, how: str) -> None:
        row = {"lockbox": box.number, "variant": variant, "how": how, "at": self._now()}
        self._insert(db, _openings, [row])

    def _now(self) -> str:
        return self._clock.now().isoformat(timespec="seconds")


def _json(values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=str)
