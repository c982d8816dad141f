"""How a ledger grew: one file a revision under `versions/`, never edited once released.

`upgrade` runs whatever a database lacks, in the caller's transaction, so that the tables and the record of the
revision come together or not at all. Nobody needs Alembic's command line.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

HERE = Path(__file__).parent


def upgrade(connection: sa.Connection, revision: str = "head") -> None:
    """Bring the database behind `connection` to `revision`; commits nothing itself."""
    config = Config()
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
