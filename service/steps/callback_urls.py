"""A request's own callback_url: judged when it comes, and given a lane with all of its origin."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from service.core import signatures
from service.core.errors import Finding
from service.core.targets import DEFAULT_PORTS, check_url
from service.steps.profiles import bound_to
from service.steps.resources import Resources
from service.steps.signing import ensure_account_secret
from service.store import callback_targets
from service.store.callback_targets import Place, Target
from service.store.database import Direct

POINTER = "/callback_url"


def flaws(resources: Resources, url: str) -> list[Finding]:
    """Why it may not be called, as far as its text says: a name is judged each time it is dialled.
    The provider takes http too, and so do those who only change its base URL."""
    return check_url(
        url,
        pointer=POINTER,
        https_only=False,
        allowed=resources.settings.allowed_private_targets,
        ports=resources.settings.allowed_ports,
    )


async def lanes(tx: Direct, resources: Resources, wanted: Sequence[Place]) -> dict[Place, str]:
    """The subscribers that stand for these origins of these accounts, given in order; those that
    there are not are made in this transaction."""
    found = await callback_targets.of(tx, wanted) if wanted else {}
    missing = [one for one in wanted if one not in found]
    if not missing:
        return found
    for account_id in sorted({account_id for account_id, _ in missing}):
        await ensure_account_secret(tx, resources, account_id)
    new = [_target(resources, *one) for one in missing]
    await callback_targets.add(tx, new, resources.clock())
    return await callback_targets.of(tx, wanted)


def _target(resources: Resources, account_id: str, origin: str) -> Target:
    id_ = resources.new_id("sbr")
    secret = resources.vault.seal(resources.chance(signatures.SECRET_BYTES), bound_to(id_))
    return Target(id_, account_id, origin, secret)


def origin_of(url: str) -> str:
    """`callback://host:port`: under this scheme nothing can be sent there by mistake."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    host = (parts.hostname or "").removesuffix(".")
    return f"callback://[{host}]:{port}" if ":" in host else f"callback://{host}:{port}"
