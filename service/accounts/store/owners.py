"""Which account things belong to, for those who see every account."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from sqlalchemy import text

from service.kit.database.connection import Connection

# By the name that the id has in a path. Each is found by its id first, whatever is thought of the
# tables' sizes. A subscriber that stands for callback_urls is nobody's.
_OWNERS = MappingProxyType(
    {
        name: text(f"""
            SELECT a.id, a.name FROM ({found} LIMIT 1) o JOIN accounts a ON a.id = o.account_id
        """)  # noqa: S608 - only our own words are put in
        for name, found in {
            "subject_id": "SELECT account_id FROM subjects WHERE id = :id",
            "subscriber_id": "SELECT account_id FROM subscribers"
            " WHERE id = :id AND type <> 'callback'",
            "delivery_id": "SELECT (SELECT account_id FROM subscribers WHERE id = subscriber_id)"
            " AS account_id FROM deliveries WHERE id = :id",
        }.items()
    }
)
OWNED_PATH_PARAMETERS = frozenset(_OWNERS)
_ACCOUNT_NAMES = text("SELECT id, name FROM accounts WHERE id = ANY (CAST(:ids AS text[]))")
# In the order of the ids, which only one index has: a list's, with the ids in it too, is longer.
_ACCOUNT_NAMES_BY_SUBJECT = text("""
    SELECT i.id, a.name FROM unnest(CAST(:ids AS text[])) i (id)
    CROSS JOIN LATERAL (
        SELECT id, account_id FROM subjects WHERE id >= i.id ORDER BY id LIMIT 1
    ) s
    JOIN accounts a ON a.id = s.account_id
    WHERE s.id = i.id
""")


async def owning_account(tx: Connection, what: str, id_: str) -> tuple[str, str] | None:
    """Id and name of the account that this belongs to; `what` is one of NAMES_OF_IDS."""
    return next(((row[0], row[1]) for row in await tx.execute(_OWNERS[what], {"id": id_})), None)


async def account_names(tx: Connection, account_ids: Collection[str]) -> Mapping[str, str]:
    """The accounts' names by their ids."""
    return dict(await tx.execute(_ACCOUNT_NAMES, {"ids": list(account_ids)}))


async def account_names_by_subject(
    tx: Connection, subject_ids: Collection[str]
) -> Mapping[str, str]:
    """The names of the subjects' accounts by the subjects' ids, as far as there are such."""
    return dict(await tx.execute(_ACCOUNT_NAMES_BY_SUBJECT, {"ids": list(subject_ids)}))
