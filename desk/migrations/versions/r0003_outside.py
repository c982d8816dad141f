"""What happens outside the desk, and the right to trade real money: the broker's figures that were taken over, and who
armed which account; newest row of the latter counts."""

from __future__ import annotations

from alembic import op

revision = "r0003"
down_revision = "r0002"

TABLES = (
    """
CREATE TABLE adjustment (
    {seq}, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES account (name), symbol TEXT NOT NULL,
    quantity TEXT NOT NULL, cash TEXT NOT NULL, after_fill BIGINT NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL,
    at BIGINT NOT NULL)
""",
    """
CREATE TABLE arming (
    {seq}, account TEXT NOT NULL, armed BOOLEAN NOT NULL, reason TEXT NOT NULL, actor TEXT NOT NULL,
    details TEXT NOT NULL, at BIGINT NOT NULL)
""",
)
NAMES = ("adjustment", "arming")


def upgrade() -> None:
    """Make both tables and the triggers that keep their rows."""
    postgres = op.get_context().dialect.name == "postgresql"
    seq = "seq BIGSERIAL NOT NULL PRIMARY KEY" if postgres else "seq INTEGER NOT NULL PRIMARY KEY"
    for table in TABLES:
        op.execute(table.format(seq=seq))
    for name in NAMES:
        for statement in _kept(name, postgres):
            op.execute(statement)


def _kept(name: str, postgres: bool) -> list[str]:
    if postgres:
        row = "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        return [
            f"CREATE TRIGGER {name}_changed BEFORE UPDATE ON {name} {row}",
            f"CREATE TRIGGER {name}_deleted BEFORE DELETE ON {name} {row}",
            f"CREATE TRIGGER {name}_emptied BEFORE TRUNCATE ON {name} FOR EACH STATEMENT "
            "EXECUTE FUNCTION refuse_change()",
        ]
    refuse = f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END"
    return [
        f"CREATE TRIGGER {name}_changed BEFORE UPDATE ON {name} {refuse}",
        f"CREATE TRIGGER {name}_deleted BEFORE DELETE ON {name} {refuse}",
        f"CREATE TRIGGER {name}_replaced BEFORE INSERT ON {name} "  # noqa: S608 - our own names
        f"WHEN EXISTS (SELECT 1 FROM {name} WHERE rowid = NEW.rowid) {refuse}",
    ]
