"""Migrations of the database by alembic; any number of processes may run them at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

import service

PACKAGE = Path(service.__file__).parent
# A wheel has the migrations inside the package; a checkout beside it.
INSIDE, BESIDE = PACKAGE / "migrations", PACKAGE.parent / "migrations"
FOLDER = INSIDE if INSIDE.is_dir() else BESIDE


def alembic_config(url: str) -> Config:
    """alembic's configuration for this database, without an alembic.ini."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def migrate(url: str) -> str | None:
    """Apply the migrations that this database does not have yet, and return its revision then.
    Unavailable if it cannot be reached, or a table is locked for too long."""
    config = alembic_config(url)
    command.upgrade(config, "head")
    return ScriptDirectory.from_config(config).get_current_head()
