"""Goes on with the feeds in another Postgres cluster."""

from service.event_feed.store import transaction_ids
from service.kit.database.database import Database


async def rebase_transaction_ids(database: Database) -> bool:
    """After a dump was restored in another cluster, let feeds go on there: see the store. Whether
    there was anything to do."""
    async with database.transaction() as tx:
        return await transaction_ids.rebase_transaction_ids(tx)
