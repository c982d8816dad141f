"""Strategies at work: what was adopted and every change of its state, and one decision for each bar that closed, once
for ever; orders are found by the signal they came from."""

from __future__ import annotations

from alembic import op

from desk.migrations.versions.r0003_outside import _kept

revision = "r0004"
down_revision = "r0003"

TABLES = (
    """
CREATE TABLE adoption (
    {seq}, id TEXT NOT NULL, account TEXT NOT NULL REFERENCES account (name), strategy TEXT NOT NULL,
    body TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL, at BIGINT NOT NULL)
""",
    """
CREATE TABLE bar_decision (
    {seq}, adoption TEXT NOT NULL, symbol TEXT NOT NULL, bar_time BIGINT NOT NULL, exposure {double},
    done TEXT NOT NULL, said TEXT NOT NULL, held TEXT NOT NULL, wanted TEXT NOT NULL, stop TEXT, target TEXT,
    signal_id TEXT NOT NULL, at BIGINT NOT NULL, UNIQUE (adoption, symbol, bar_time))
""",
)
INDEXES = (
    "CREATE INDEX adoption_id ON adoption (id, seq)",
    "CREATE INDEX bar_decision_of ON bar_decision (adoption, symbol, seq)",
    "CREATE INDEX orders_signal ON orders (signal_id) WHERE signal_id != ''",
)
NAMES = ("adoption", "bar_decision")


def upgrade() -> None:
    """Make both tables, the indexes, and the triggers that keep their rows."""
    postgres = op.get_context().dialect.name == "postgresql"
    seq = "seq BIGSERIAL NOT NULL PRIMARY KEY" if postgres else "seq INTEGER NOT NULL PRIMARY KEY"
    double = "DOUBLE PRECISION" if postgres else "REAL"
    for statement in (*(table.format(seq=seq, double=double) for table in TABLES), *INDEXES):
        op.execute(statement)
    for name in NAMES:
        for statement in _kept(name, postgres):
            op.execute(statement)
