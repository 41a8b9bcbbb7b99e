"""Bringing the tables up to date; any number of processes may try at once."""

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
    """alembic's configuration, without a file of its own."""
    made = Config()
    made.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    made.attributes["url"] = url
    return made


def migrate(url: str) -> str | None:
    """Apply whatever this database has not seen yet; the revision that it has then. Unavailable if
    it is away or a table busy."""
    made = alembic_config(url)
    command.upgrade(made, "head")
    return ScriptDirectory.from_config(made).get_current_head()
