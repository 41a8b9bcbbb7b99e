"""The end of a hold."""

from datetime import datetime

from sqlalchemy import text

from service.kit.database.connection import Connection

_RELEASE = text("""
    UPDATE installation SET held_reason = NULL, held_since = NULL, public_url = :home_url,
        last_moment = greatest(last_moment, :moment)
    WHERE id = 1 AND installation_id = :id
""")


async def release(tx: Connection, installation_id: str, home_url: str, moment: datetime) -> None:
    """End the hold of this installation, which is at home at this URL, and alive at this moment: no
    earlier than any that its processes remember."""
    values = {"id": installation_id, "home_url": home_url, "moment": moment}
    await tx.execute(_RELEASE, values)
