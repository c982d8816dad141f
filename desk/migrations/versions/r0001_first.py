"""The first ledger: every table of the order desk, and the triggers that keep what must not change.

Written as SQL so that it stays what it was when `desk/schema.py` moves on.
"""

from __future__ import annotations

from alembic import op

revision = "r0001"
down_revision = None

# In braces stands what the two databases spell differently.
TABLES = """
CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE lease (
    name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, epoch BIGINT NOT NULL, since BIGINT NOT NULL,
    until BIGINT NOT NULL, locked BOOLEAN NOT NULL);
CREATE TABLE command (
    {seq}, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, actor TEXT NOT NULL, body TEXT NOT NULL,
    fingerprint TEXT NOT NULL, created BIGINT NOT NULL, state TEXT NOT NULL, said TEXT NOT NULL,
    details TEXT NOT NULL, answered BIGINT);
CREATE INDEX command_queued ON command (seq) WHERE state = 'queued';
CREATE TABLE account (
    name TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, starting_cash TEXT NOT NULL, created BIGINT NOT NULL);
CREATE TABLE orders (
    id TEXT NOT NULL PRIMARY KEY, account TEXT NOT NULL REFERENCES account (name), symbol TEXT NOT NULL,
    side TEXT NOT NULL, quantity TEXT NOT NULL, type TEXT NOT NULL, "limit" TEXT, stop TEXT, trail TEXT,
    time_in_force TEXT NOT NULL, session TEXT NOT NULL, purpose TEXT NOT NULL, stop_loss TEXT, target TEXT,
    signal_id TEXT NOT NULL, reason TEXT NOT NULL, parent TEXT NOT NULL, created BIGINT NOT NULL,
    status TEXT NOT NULL, updated BIGINT NOT NULL, filled TEXT NOT NULL, filled_value TEXT NOT NULL,
    broker_id TEXT NOT NULL, reasons TEXT NOT NULL, version BIGINT NOT NULL);
CREATE INDEX orders_status ON orders (status, account, symbol);
CREATE INDEX orders_created ON orders (created);
CREATE UNIQUE INDEX orders_broker_id ON orders (account, broker_id) WHERE broker_id != '';
CREATE TABLE order_event (
    order_id TEXT NOT NULL REFERENCES orders (id), version BIGINT NOT NULL, before TEXT NOT NULL,
    after TEXT NOT NULL, at BIGINT NOT NULL, reasons TEXT NOT NULL, broker_id TEXT NOT NULL, epoch BIGINT NOT NULL,
    PRIMARY KEY (order_id, version)){clustered};
CREATE TABLE attempt (
    {seq}, order_id TEXT NOT NULL REFERENCES orders (id), n BIGINT NOT NULL, client_order_id TEXT NOT NULL UNIQUE,
    preview_id TEXT NOT NULL, watermark TEXT NOT NULL, signed BIGINT NOT NULL, epoch BIGINT NOT NULL,
    UNIQUE (order_id, n));
CREATE TABLE outcome (
    {seq}, client_order_id TEXT NOT NULL REFERENCES attempt (client_order_id), account TEXT NOT NULL,
    said TEXT NOT NULL, broker_order_id TEXT, details TEXT NOT NULL, at BIGINT NOT NULL,
    UNIQUE (account, broker_order_id));
CREATE INDEX outcome_attempt ON outcome (client_order_id);
CREATE TABLE fill (
    {seq}, id TEXT NOT NULL UNIQUE, order_id TEXT REFERENCES orders (id),
    account TEXT NOT NULL REFERENCES account (name), symbol TEXT NOT NULL, side TEXT NOT NULL,
    quantity TEXT NOT NULL, price TEXT NOT NULL, fee TEXT NOT NULL, time BIGINT NOT NULL, heard BIGINT NOT NULL);
CREATE INDEX fill_order ON fill (order_id);
CREATE INDEX fill_account ON fill (account, symbol);
CREATE TABLE decision (
    {seq}, order_id TEXT REFERENCES orders (id), command_key TEXT NOT NULL, approved BOOLEAN NOT NULL,
    request TEXT NOT NULL, verdicts TEXT NOT NULL, inputs TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX decision_order ON decision (order_id);
CREATE TABLE signal (
    {seq}, id TEXT NOT NULL UNIQUE, symbol TEXT NOT NULL, bar_time BIGINT NOT NULL, exposure DOUBLE PRECISION NOT NULL,
    confidence DOUBLE PRECISION NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL, at BIGINT NOT NULL);
CREATE TABLE control (
    {seq}, scope TEXT NOT NULL, state TEXT NOT NULL, level BIGINT NOT NULL, reason TEXT NOT NULL,
    actor TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX control_scope ON control (scope, seq);
CREATE TABLE limits (
    {seq}, name TEXT NOT NULL, old TEXT, new TEXT NOT NULL, actor TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX limits_name ON limits (name, seq);
CREATE TABLE breaker (
    account TEXT NOT NULL PRIMARY KEY REFERENCES account (name), body TEXT NOT NULL, actor TEXT NOT NULL,
    at BIGINT NOT NULL);
CREATE TABLE equity (
    {seq}, account TEXT NOT NULL REFERENCES account (name), at BIGINT NOT NULL, cash TEXT NOT NULL,
    equity TEXT NOT NULL, UNIQUE (account, at));
CREATE TABLE engine (
    name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL, epoch BIGINT NOT NULL, started BIGINT NOT NULL,
    beat BIGINT NOT NULL, state TEXT NOT NULL, details TEXT NOT NULL);
CREATE TABLE audit (
    {number}, at BIGINT NOT NULL, event TEXT NOT NULL, actor TEXT NOT NULL, details TEXT NOT NULL,
    epoch BIGINT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL);
CREATE TABLE audit_head (name TEXT NOT NULL PRIMARY KEY, seq BIGINT NOT NULL, hash TEXT NOT NULL);
"""

# Rows that stay as they were written, each with what makes it itself.
APPEND_ONLY = {
    "account": "name = NEW.name",
    "order_event": "order_id = NEW.order_id AND version = NEW.version",
    "attempt": "client_order_id = NEW.client_order_id",
    "outcome": "account = NEW.account AND broker_order_id = NEW.broker_order_id",
    "fill": "id = NEW.id",
    "decision": "",
    "signal": "id = NEW.id",
    "control": "",
    "limits": "",
    "equity": "account = NEW.account AND at = NEW.at",
    "audit": "",
    "meta": "key = NEW.key",
}
# Rows that change in part: what was asked stays, what became of it moves.
FIXED_COLUMNS = {
    "orders": 'id, account, symbol, side, quantity, type, "limit", stop, trail, time_in_force, session, purpose, '
    "stop_loss, target, signal_id, reason, parent, created",
    "command": "seq, key, kind, actor, body, fingerprint, created",
}
SQLITE = """
CREATE TRIGGER audit_added AFTER INSERT ON audit
BEGIN UPDATE audit_head SET seq = NEW.seq, hash = NEW.hash WHERE name = 'audit'; END
"""
POSTGRES = (
    """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$
""",
    """
CREATE FUNCTION note_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN UPDATE audit_head SET seq = NEW.seq, hash = NEW.hash WHERE name = 'audit'; RETURN NEW; END $$
""",
    "CREATE TRIGGER audit_added AFTER INSERT ON audit FOR EACH ROW EXECUTE FUNCTION note_audit()",
)


def upgrade() -> None:
    """Make every table, index and trigger."""
    if op.get_context().dialect.name == "postgresql":
        number = "seq BIGINT NOT NULL PRIMARY KEY"
        _run(TABLES, seq="seq BIGSERIAL NOT NULL PRIMARY KEY", number=number, clustered="")
        for statement in POSTGRES:
            op.execute(statement)
        _guard_postgres()
    else:
        number = "seq INTEGER NOT NULL PRIMARY KEY"
        _run(TABLES, seq=number, number=number, clustered=" WITHOUT ROWID")
        op.execute(SQLITE)
        _guard_sqlite()


def _run(statements: str, **spelled: str) -> None:
    for statement in statements.format(**spelled).split(";\n"):
        if statement.strip():
            op.execute(statement)


def _guard_postgres() -> None:
    for table in APPEND_ONLY:
        _refuse_postgres(table, "changed", "UPDATE OR DELETE", "ROW")
    for table, columns in FIXED_COLUMNS.items():
        _refuse_postgres(table, "rewritten", f"UPDATE OF {columns}", "ROW")
        _refuse_postgres(table, "deleted", "DELETE", "ROW")
    for table in (*APPEND_ONLY, *FIXED_COLUMNS):
        _refuse_postgres(table, "emptied", "TRUNCATE", "STATEMENT")


def _refuse_postgres(table: str, what: str, event: str, each: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{what} BEFORE {event} ON {table} FOR EACH {each} EXECUTE FUNCTION refuse_change()"
    )


def _guard_sqlite() -> None:
    for table, same in APPEND_ONLY.items():
        _refuse_sqlite(table, "changed", "UPDATE")
        _refuse_sqlite(table, "deleted", "DELETE")
        _refuse_replace(table, same)
    for table, columns in FIXED_COLUMNS.items():
        _refuse_sqlite(table, "rewritten", f"UPDATE OF {columns}")
        _refuse_sqlite(table, "deleted", "DELETE")
        _refuse_replace(table, "key = NEW.key" if table == "command" else "id = NEW.id")


def _refuse_replace(table: str, same: str) -> None:
    """SQLite's INSERT OR REPLACE deletes without asking a DELETE trigger."""
    same_row = [] if table == "order_event" else ["rowid = NEW.rowid"]
    known = " OR ".join([*same_row, same] if same else same_row)
    _refuse_sqlite(table, "replaced", "INSERT", f" WHEN EXISTS (SELECT 1 FROM {table} WHERE {known})")  # noqa: S608


def _refuse_sqlite(table: str, what: str, event: str, when: str = "") -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{what} BEFORE {event} ON {table}{when} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )
