"""Tasks of the provider's own paths, read from our subjects: one by its id, or a numbered page."""

from service.compat_api.store import numbered_pages
from service.resources import Resources
from service.subjects.domain.subject import Subject, SubjectView
from service.subjects.store import subjects


async def find_task(resources: Resources, account_id: str, task_id: str) -> SubjectView | None:
    """An account's subject by our id, or else by the account's external id; None if there is
    none."""
    key = account_id, task_id
    async with resources.database.autocommit() as tx:
        (subject,) = await subjects.views(tx, [key])
        return subject or (await subjects.by_external_id(tx, [key])).get(key)


async def list_tasks(
    resources: Resources, account_id: str | None, number: int, size: int
) -> list[Subject]:
    """Page `number` (from 1) of an account's subjects (None: of all accounts), the newest first."""
    async with resources.database.autocommit() as tx:
        ids = await numbered_pages.subject_ids(tx, account_id, number, size)
        subjects_by_id = await subjects.by_ids(tx, ids)
    # A subject may have been deleted meanwhile.
    return [subjects_by_id[id_] for id_ in ids if id_ in subjects_by_id]
