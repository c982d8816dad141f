"""Trailing stops: the distance in what an entry asks for, in a plan and in a decision; and how near each has come."""

from __future__ import annotations

from alembic import op

from desk.migrations.versions.r0001_first import FIXED_COLUMNS

revision = "r0006"
down_revision = "r0005"

LEVEL = """
CREATE TABLE trail_level (
    account TEXT NOT NULL REFERENCES account (name), symbol TEXT NOT NULL, level TEXT, since BIGINT NOT NULL,
    seen BIGINT NOT NULL, PRIMARY KEY (account, symbol))
"""


def upgrade() -> None:
    """A column more in three tables, empty in every row there is; and one row for each trailing stop. What an order
    asked for stays as it was written, the new column too."""
    for table, name in (("orders", "stop_trail"), ("protection", "trail"), ("bar_decision", "trail")):
        op.execute(f"ALTER TABLE {table} ADD COLUMN {name} TEXT")
    op.execute(LEVEL)
    event = f"BEFORE UPDATE OF {FIXED_COLUMNS['orders']}, stop_trail ON orders"
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP TRIGGER orders_rewritten ON orders")
        op.execute(f"CREATE TRIGGER orders_rewritten {event} FOR EACH ROW EXECUTE FUNCTION refuse_change()")
    else:
        op.execute("DROP TRIGGER orders_rewritten")
        op.execute(f"CREATE TRIGGER orders_rewritten {event} BEGIN SELECT RAISE(ABORT, 'orders is append-only'); END")
