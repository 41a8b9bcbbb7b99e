"""Reading subjects as the provider's own paths name and number them."""

from service.compat_api.store import numbered_pages
from service.resources import Resources
from service.subjects.domain.subject import Subject
from service.subjects.store import subjects


async def find_task(resources: Resources, account_id: str, name: str) -> Subject | None:
    """By our id, or by the account's own; where one subject's own id is another's of ours, ours
    counts."""
    async with resources.database.autocommit() as tx:
        (ours,) = await subjects.by_account_and_id(tx, [(account_id, name)])
        return ours or (await subjects.by_external_id(tx, [(account_id, name)])).get(
            (account_id, name)
        )


async def list_tasks(
    resources: Resources, account_id: str | None, number: int, size: int
) -> list[Subject]:
    """An account's, or every account's, the newest first; `number` starts at 1."""
    async with resources.database.autocommit() as tx:
        ids = await numbered_pages.subject_ids(tx, account_id, number, size)
        found = await subjects.by_ids(tx, ids)
    return [found[one] for one in ids if one in found]  # one may have been deleted in between
