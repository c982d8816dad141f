"""Inserts and updates of SQLite on the short path: compiled by SQLAlchemy once, then handed straight to the driver.

An order's move is five statements, and SQLAlchemy's own path costs more than SQLite's for each. Types are checked and
converted as always; only the result objects, which an insert does not need, are left out. PostgreSQL, where the
journey to the server costs more than either, takes the usual path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

Convert = Callable[[Any], Any] | None
Prepared = tuple[str, list[tuple[str, Convert]], dict[str, Any]]
_known: dict[tuple[sa.Insert | sa.Update, frozenset[str]], Prepared] = {}


def put(db: sa.Connection, statement: sa.Insert | sa.Update, values: Mapping[str, Any]) -> int:
    """Run one of `desk.statements` (never one built on the fly); how many rows it touched."""
    if db.dialect.name != "sqlite":
        return db.execute(statement, values).rowcount
    key = (statement, frozenset(values))
    sql, places, fixed = _known.get(key) or _known.setdefault(key, _prepare(db.dialect, statement, values))
    arguments = []
    for name, convert in places:
        value = values[name] if name in values else fixed[name]
        arguments.append(convert(value) if convert else value)
    driver = db.connection.driver_connection
    assert driver is not None
    count: int = driver.execute(sql, arguments).rowcount
    return count


def _prepare(dialect: sa.Dialect, statement: sa.Insert | sa.Update, values: Mapping[str, Any]) -> Prepared:
    compiled = statement.compile(dialect=dialect, column_keys=list(values))
    assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
    kinds = {name: bound.type.dialect_impl(dialect) for name, bound in compiled.binds.items()}
    places: list[tuple[str, Convert]] = [
        (name, kinds[name].bind_processor(dialect)) for name in compiled.positiontup or ()
    ]
    return str(compiled), places, dict(compiled.params)
