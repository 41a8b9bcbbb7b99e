"""Which account owns a subject, a subscriber or a delivery, for operators, who see all of them."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from sqlalchemy import text

from service.kit.database.connection import Connection

# By the path parameter that names the id. `LIMIT 1` makes Postgres look the id up first, whatever
# it estimates. The hidden subscribers of callback_urls (type callback) are not for anybody to see.
_OWNERS = MappingProxyType(
    {
        name: text(f"""
            SELECT a.id, a.name FROM ({query} LIMIT 1) o JOIN accounts a ON a.id = o.account_id
        """)  # noqa: S608 - only our own words are put in
        for name, query in {
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
# `id >= i.id ORDER BY id` is served by the primary key alone; `=` may choose a longer index.
_ACCOUNT_NAMES_BY_SUBJECT = text("""
    SELECT i.id, a.name FROM unnest(CAST(:ids AS text[])) i (id)
    CROSS JOIN LATERAL (
        SELECT id, account_id FROM subjects WHERE id >= i.id ORDER BY id LIMIT 1
    ) s
    JOIN accounts a ON a.id = s.account_id
    WHERE s.id = i.id
""")


async def owning_account(tx: Connection, parameter: str, id_: str) -> tuple[str, str] | None:
    """Id and name of the account that owns what has this id; None if nothing has it.

    `parameter` is one of OWNED_PATH_PARAMETERS.
    """
    row = await tx.first(_OWNERS[parameter], {"id": id_})
    return None if row is None else (row[0], row[1])


async def account_names(tx: Connection, account_ids: Collection[str]) -> Mapping[str, str]:
    """The names of accounts by their ids."""
    return dict(await tx.execute(_ACCOUNT_NAMES, {"ids": list(account_ids)}))


async def account_names_by_subject(
    tx: Connection, subject_ids: Collection[str]
) -> Mapping[str, str]:
    """The names of subjects' accounts, by the subjects' ids; ids of no subject are left out."""
    return dict(await tx.execute(_ACCOUNT_NAMES_BY_SUBJECT, {"ids": list(subject_ids)}))
