"""What filters said of a bar and where they stand after it, beside its decision; and the steps of strategies at work on
their way from paper to all of the money."""

from __future__ import annotations

from alembic import op

from desk.migrations.versions.r0003_outside import _kept

revision = "r0005"
down_revision = "r0004"

RUNG = """
CREATE TABLE rung (
    {seq}, adoption TEXT NOT NULL, rung TEXT NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL, details TEXT NOT NULL,
    at BIGINT NOT NULL)
"""


def upgrade() -> None:
    """Two columns more, empty in every row there is; and the table, with the triggers that keep its rows."""
    postgres = op.get_context().dialect.name == "postgresql"
    for name in ("state", "verdicts"):
        op.execute(f"ALTER TABLE bar_decision ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
    op.execute(
        RUNG.format(seq="seq BIGSERIAL NOT NULL PRIMARY KEY" if postgres else "seq INTEGER NOT NULL PRIMARY KEY")
    )
    op.execute("CREATE INDEX rung_of ON rung (adoption, seq)")
    for statement in _kept("rung", postgres):
        op.execute(statement)
