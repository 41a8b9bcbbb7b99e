"""The provider's tasks that a restored database does not know: they were submitted in the minutes
that the restore has lost, and their subjects are gone with them."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from service.installation.store.known import known_ids
from service.kit.ids import first_id
from service.provider.domain.our_tasks import our_id
from service.provider.domain.task_reports import TaskReport
from service.provider.steps import task_list
from service.resources import Resources

# Clocks differ by a second at most, and the last moment is noted every few seconds.
MARGIN = timedelta(minutes=1)


async def unknown_tasks(
    resources: Resources, since: datetime | None
) -> AsyncIterator[tuple[str, TaskReport]]:
    """The provider's tasks that carry an id of our kind, made since then (None: ever), which no
    subject has; each with that id. An older one that is not here was pruned. Unavailable if the
    provider cannot be asked."""
    least = first_id("sub", (since - MARGIN).timestamp()) if since else ""
    async for page in task_list.pages(resources):
        ours = {id_: report for report in page.reports if (id_ := our_id(report))}
        recent = sorted(id_ for id_ in ours if id_ >= least)
        async with resources.database.autocommit() as tx:
            known = await known_ids(tx, recent)
        for id_ in recent:
            if id_ not in known:
                yield id_, ours[id_]
