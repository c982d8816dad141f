"""How a position is protected: the stop and the target a person or an entry asked for, newest row counts."""

from __future__ import annotations

from alembic import op

revision = "r0002"
down_revision = "r0001"

TABLE = """
CREATE TABLE protection (
    {seq}, account TEXT NOT NULL REFERENCES account (name), symbol TEXT NOT NULL, stop TEXT, target TEXT,
    actor TEXT NOT NULL, at BIGINT NOT NULL)
"""
INDEX = "CREATE INDEX protection_of ON protection (account, symbol, seq)"
# What the pace of orders and the commands that wait are read by.
SIGNED = "CREATE INDEX attempt_signed ON attempt (signed)"
DECIDED = "CREATE INDEX decision_at ON decision (at)"


def upgrade() -> None:
    """Make the table, its index and the triggers that keep its rows."""
    postgres = op.get_context().dialect.name == "postgresql"
    op.execute(
        TABLE.format(seq="seq BIGSERIAL NOT NULL PRIMARY KEY" if postgres else "seq INTEGER NOT NULL PRIMARY KEY")
    )
    for statement in (INDEX, SIGNED, DECIDED):
        op.execute(statement)
    for what, event in (("changed", "UPDATE"), ("deleted", "DELETE")):
        if postgres:
            op.execute(
                f"CREATE TRIGGER protection_{what} BEFORE {event} ON protection FOR EACH ROW "
                "EXECUTE FUNCTION refuse_change()"
            )
        else:
            op.execute(
                f"CREATE TRIGGER protection_{what} BEFORE {event} ON protection "
                "BEGIN SELECT RAISE(ABORT, 'protection is append-only'); END"
            )
    if postgres:
        op.execute(
            "CREATE TRIGGER protection_emptied BEFORE TRUNCATE ON protection FOR EACH STATEMENT "
            "EXECUTE FUNCTION refuse_change()"
        )
    else:
        op.execute(
            "CREATE TRIGGER protection_replaced BEFORE INSERT ON protection "
            "WHEN EXISTS (SELECT 1 FROM protection WHERE rowid = NEW.rowid) "
            "BEGIN SELECT RAISE(ABORT, 'protection is append-only'); END"
        )
