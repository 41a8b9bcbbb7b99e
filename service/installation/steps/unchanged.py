"""Two commands may say at once what a database is. The first to end wins; the other stops before it
takes for work of a held database what the processes have begun since."""

from service.installation.domain.installation import Installation
from service.installation.store import installation as store
from service.kit.database.connection import Connection
from service.kit.errors import Conflict


class Overtaken(Conflict):
    """Another command has said meanwhile what the database is."""


async def lock_unchanged(tx: Connection, found: Installation) -> None:
    """Let nobody adopt or resume the database to the end of this transaction. Overtaken if somebody
    has since it was found so."""
    now = await store.lock(tx)
    if (now.id, now.held_since) != (found.id, found.held_since):
        raise Overtaken(
            "Another `callsheet adopt` or `callsheet resume` has ended meanwhile: this one stops."
        )
