"""Whose home a test's database is."""

from sqlalchemy import text

from service.installation.domain.installation import Installation, home_url
from service.kit.timestamps import EPOCH
from service.resources import Resources

PUBLIC_URL = "http://127.0.0.1:65009"  # of a test's processes; an unused port
# So that a test need not look at the installation before its first claim.
AT_HOME = f"""
    UPDATE installation SET public_url = '{PUBLIC_URL}', last_moment = '1970-01-01Z'
"""  # noqa: S608 - our own word
NEW_ID = "UPDATE installation SET installation_id = 'ins_' || gen_random_uuid()"
_MOVE = text("UPDATE installation SET public_url = :url")


def look(resources: Resources, public_url: str = PUBLIC_URL) -> None:
    """Let the process see itself at home, as its first look would."""
    resources.home.url = home_url(public_url)
    resources.home.see(Installation("ins_test", resources.home.url, EPOCH, None, None))


async def move(resources: Resources, public_url: str) -> None:
    """Make the database that of this URL, and the process too."""
    async with resources.database.autocommit() as tx:
        await tx.execute(_MOVE, {"url": home_url(public_url)})
    look(resources, public_url)
