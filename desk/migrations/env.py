"""Alembic's entry: run the revisions on the connection that `migrations.upgrade` handed over."""

from __future__ import annotations

from alembic import context

from desk import schema

context.configure(
    connection=context.config.attributes["connection"], target_metadata=schema.metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
