"""Renewing the leases of a worker while it lives. A worker that was stopped finds them expired, and
leaves the work to others."""

from collections.abc import Sequence

from service.kit.leases import Lease
from service.reconciliation.store import leases
from service.resources import Resources, end_of_lease


async def renew(resources: Resources, held: Sequence[Lease]) -> None:
    """Let these leases end a whole lease from now, as far as they are still ours. Unavailable if
    the renewal is not known to have been written.

    A lost renewal costs no more than a lost claim, so it does not wait for the disk.
    """
    if not held:
        return
    now = resources.clock()
    until = end_of_lease(resources, now)
    async with resources.database.relaxed() as tx:
        pairs = [(lease.token, lease.id) for lease in held]
        renewed = await leases.renew(tx, pairs, now=now, until=until)
    for lease in held:
        if (lease.token, lease.id) in renewed:
            lease.until = until
