"""A request's own callback_url: judged when it comes, and given a lane with all of its origin."""

from urllib.parse import urlsplit

from service.core import signatures
from service.core.errors import Finding
from service.core.targets import DEFAULT_PORTS, check_url
from service.steps.profiles import bound_to
from service.steps.resources import Resources
from service.steps.signing import ensure_account_secret
from service.store import callback_targets
from service.store.database import Direct, Transaction

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


async def lane(tx: Transaction | Direct, resources: Resources, account_id: str, url: str) -> str:
    """The subscriber that stands for this URL; made in this transaction, if there is none."""
    origin = origin_of(url)
    known = await callback_targets.of(tx, account_id, origin)
    if known is not None:
        return known
    await ensure_account_secret(tx, resources, account_id)
    id_ = resources.new_id("sbr")
    await callback_targets.add(
        tx,
        id_=id_,
        account_id=account_id,
        origin=origin,
        secret=resources.vault.seal(resources.chance(signatures.SECRET_BYTES), bound_to(id_)),
        now=resources.clock(),
    )
    return await callback_targets.of(tx, account_id, origin) or id_


def origin_of(url: str) -> str:
    """`callback://host:port`: under this scheme nothing can be sent there by mistake."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    host = (parts.hostname or "").removesuffix(".")
    return f"callback://[{host}]:{port}" if ":" in host else f"callback://{host}:{port}"
