"""Settings: one frozen dataclass, read once from a mapping that is passed in, checked at the start.

`deploy/env.example` lists every one; a test holds it to this file.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from service.callbacks.domain.signature_schemes import V1, Scheme
from service.callbacks.domain.sources import PROVIDER, read_sources
from service.delivery.domain.retries import DELIVERY_SCHEDULE
from service.kit import setting_parsers
from service.kit.database.url import parse_database_url
from service.kit.network.ports import parse_ports
from service.kit.network.url_policy import parse_networks
from service.kit.validation import ValidationContext, quotable

PREFIX = "CALLSHEET_"


class SettingError(Exception):
    """A setting is missing or wrong; the message is one line that names it, never its value."""


def _setting(default: str | None, parse: Callable[[str], Any], meaning: str, **kw: Any) -> Any:  # noqa: ANN401
    """A field read by `parse` from the variable of its name; no default: it must be given."""
    metadata = {"default": default, "parse": parse, "meaning": meaning}
    return field(metadata=metadata, **kw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the service is told from outside. Durations are seconds."""

    database_url: str = _setting(
        None,
        parse_database_url,
        "Where Postgres 15 or newer is: postgresql://user:password@host:port/name; with several "
        "hosts, host1:port,host2:port/name?target_session_attrs=read-write, the first that can "
        "write; with a socket, user:password@/name?host=/run/postgresql. What is special in a "
        "password is percent-encoded: @ is %40",
        repr=False,
    )
    database_pool: int = _setting(
        "23",
        setting_parsers.integer(5, 1000),
        "Connections to Postgres that one process, web or worker, has at most; those of all "
        "processes must be fewer than its max_connections",
    )
    redis_url: str = _setting(
        None,
        setting_parsers.redis_url,
        "Where Redis or Valkey is, for wake-up calls: redis://user:password@host:port/0; rediss:// "
        "with TLS; unix:///path?db=0. What is special in a password is percent-encoded",
        repr=False,
    )
    public_url: str = _setting(
        None,
        setting_parsers.base_url,
        "Where the provider reaches us with its callbacks. Its path, if it has one, stands before "
        "ours in all that we print; a proxy in front takes it off before it hands a request on",
    )
    secret_key: bytes = _setting(
        None,
        setting_parsers.secret_key,
        "32 random bytes in Base64: encrypts secrets at rest, signs callback addresses",
        repr=False,
    )
    previous_secret_keys: tuple[bytes, ...] = _setting(
        "",
        setting_parsers.secret_keys,
        "Other keys that still open secrets and verify callback addresses, separated by spaces: "
        "earlier SECRET_KEYs, until `callsheet reencrypt` has run and TASK_DEADLINE has passed; "
        "and the next one, while some processes have it already and others not yet",
        repr=False,
    )
    provider_url: str = _setting(
        "https://api-singapore.klingai.com",
        setting_parsers.url("http", "https"),
        "The provider's base URL",
    )
    provider_api_key: str = _setting(
        "", setting_parsers.credential, "The provider's API key; or give the next two", repr=False
    )
    provider_access_key: str = _setting(
        "",
        setting_parsers.credential,
        "The provider's access key, where it issues pairs",
        repr=False,
    )
    provider_secret_key: str = _setting(
        "", setting_parsers.credential, "The secret key beside it", repr=False
    )
    provider_parallel: int = _setting(
        "10",
        setting_parsers.integer(1, 100_000),
        "Subjects with the provider at once, from claim to end, over all workers",
    )
    provider_timeout: float = _setting(
        "",
        setting_parsers.optional(setting_parsers.seconds(0.1, 600)),
        "The longest one call to the provider may take; empty: two thirds of LEASE, 20 at most",
    )
    webhook_secrets: tuple[bytes, ...] = _setting(
        "",
        setting_parsers.webhook_secrets,
        "The provider's webhook secrets, whsec_… separated by spaces; set: every callback must be "
        "signed; empty: a callback is a hint, and the state is read back from the provider",
        repr=False,
    )
    callback_sources: Mapping[str, Scheme] = _setting(
        "",
        read_sources,
        'How further sources of callbacks sign, as JSON: {"relay": {"scheme": "v1"}}; schemes are '
        "v1, v1a, hmac, ed25519, shared-secret and unsigned. The name provider describes the "
        "provider anew, who signs v1 otherwise",
    )
    allowed_private_targets: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "",
        parse_networks,
        "CIDRs, separated by commas, that media, subscriber and callback URLs may reach although "
        "private",
    )
    allowed_ports: Container[int] = _setting(
        "80,443,1024-65535",
        parse_ports,
        "Ports, and ranges of them, separated by commas, that subscriber, callback and media URLs "
        "may name",
    )
    allow_http: bool = _setting(
        "false",
        setting_parsers.boolean,
        "Whether subscriber URLs may be http://, nats:// or redis://, none of them encrypted, "
        "beyond ALLOWED_PRIVATE_TARGETS (true or false); callback_urls may be http:// anyway",
    )
    poll_after: float | None = _setting(
        "",
        setting_parsers.optional(setting_parsers.seconds(0.1, 86400)),
        "Seconds without news before the provider is asked; empty: the usual duration",
    )
    polls_per_second: int = _setting(
        "20",
        setting_parsers.integer(1, 10_000),
        "How often the provider is asked at most, over all workers; after a pause, a second's "
        "worth at once",
    )
    task_deadline: float = _setting(
        "86400",
        setting_parsers.seconds(1, 30 * 86400),
        "Seconds from acceptance until a subject fails with code deadline_exceeded",
    )
    lease: float = _setting(
        "30",
        setting_parsers.seconds(0.2, 3600),
        "Seconds after which others take up what a dead worker held; a living one renews its hold "
        "three times in them. More than PROVIDER_TIMEOUT",
    )
    not_found_grace: float = _setting(
        "10",
        setting_parsers.seconds(0, 3600),
        "After a lost answer: how long a look-up that finds nothing is not yet believed",
    )
    delivery_schedule: tuple[float, ...] = _setting(
        ",".join(f"{seconds:g}" for seconds in DELIVERY_SCHEDULE),
        setting_parsers.delays,
        "Seconds between attempts, separated by commas: one at once, then one after each",
    )
    delivery_timeout: float = _setting(
        "20", setting_parsers.seconds(0.1, 30), "The longest one delivery attempt may take"
    )
    failing_after: float = _setting(
        "43200",
        setting_parsers.seconds(0.1, 30 * 86400),
        "Seconds of nothing but failures until an account is told that a subscriber is failing",
    )
    disable_after: float = _setting(
        "432000",
        setting_parsers.seconds(0.1, 30 * 86400),
        "Seconds from there until the subscriber is disabled, if they go on",
    )
    delivery_concurrency: int = _setting(
        "256", setting_parsers.integer(1, 10_000), "Delivery attempts at once in one worker"
    )
    max_subscribers_per_account: int = _setting(
        "100", setting_parsers.integer(1, 100_000), "Subscribers that one account may have"
    )
    requests_per_second: float | None = _setting(
        "",
        setting_parsers.optional(setting_parsers.number(0.1, 1_000_000)),
        "Requests of one account a second, over all its keys and all web processes; after a pause, "
        "a second's worth at once; empty: no limit",
    )
    max_queued_per_account: int = _setting(
        "100000",
        setting_parsers.integer(1, 10_000_000),
        "Subjects of one account that may be queued at once; beyond it they are refused with 429",
    )
    media_concurrency: int = _setting(
        "8",
        setting_parsers.integer(1, 1000),
        "Subjects at once in one worker whose media, given by URL, are fetched and checked; each "
        "takes up to 10 MB of its memory, and one account has half of the places at most",
    )
    media_timeout: float = _setting(
        "60",
        setting_parsers.seconds(0.1, 3600),
        "The longest the download of one image or video may take, redirects included",
    )
    allow_voice_for_images: bool = _setting(
        "false",
        setting_parsers.boolean,
        "Whether image subjects may bind a voice: the provider allows it since 2026-03-23, though "
        "its page on creating subjects does not",
    )
    sweep_interval: float = _setting(
        "1",
        setting_parsers.seconds(0.05, 3600),
        "How often a worker looks for work nobody woke it for",
    )
    retention_callbacks_days: int = _setting(
        "35", setting_parsers.integer(1, 3650), "Days that raw callbacks are kept"
    )
    queue_name: str = _setting(
        "callsheet",
        setting_parsers.text,
        "The name of our arq queue, where other back ends enqueue",
    )
    host: str = _setting("127.0.0.1", setting_parsers.text, "The address web listens on")
    port: int = _setting("8000", setting_parsers.integer(0, 65535), "The port web listens on")
    log_level: str = _setting(
        "info",
        setting_parsers.one_of("debug", "info", "warning", "error"),
        "debug, info, warning or error",
    )


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ` (names with PREFIX); SettingError names the first bad one."""
    values = {one.name: _read(one, environ) for one in fields(Settings)}
    if values["provider_timeout"] is None:
        values["provider_timeout"] = min(20.0, values["lease"] * 2 / 3)
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _read(one: Field[Any], environ: Mapping[str, str]) -> Any:  # noqa: ANN401
    name = variable(one)
    text = environ.get(name, one.metadata["default"])
    if text is None:
        meant = [given for given, nearest in unknown_variables(environ).items() if nearest == name]
        but = f", but {' and '.join(meant)} is, which is no setting" if meant else ""
        msg = f"{name} is not set{but}: {one.metadata['meaning']}"
        raise SettingError(msg)
    try:
        return one.metadata["parse"](text.strip())
    except ValueError as error:
        msg = f"{name}: {error}"
        raise SettingError(msg) from None


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Variables with PREFIX that are no setting, and the setting that each is most like, if any."""
    known = [each.name.upper() for each in fields(Settings)]
    given = [name.removeprefix(PREFIX) for name in environ if name.startswith(PREFIX)]
    context, found = ValidationContext(), {}
    for name in sorted(set(given) - set(known)):
        nearest = context.closest_name(name, known)
        found[PREFIX + quotable(name)] = PREFIX + nearest if nearest else None
    return found


def variable(one: Field[Any]) -> str:
    """The environment variable of a field."""
    return PREFIX + one.name.upper()


def _check_together(settings: Settings) -> None:
    pair = (settings.provider_access_key, settings.provider_secret_key)
    if not settings.provider_api_key and not all(pair):
        msg = (
            f"{PREFIX}PROVIDER_API_KEY is not set, "
            f"nor are {PREFIX}PROVIDER_ACCESS_KEY and {PREFIX}PROVIDER_SECRET_KEY"
        )
        raise SettingError(msg)
    if settings.webhook_secrets and settings.callback_sources[PROVIDER] is not V1:
        msg = (
            f"{PREFIX}WEBHOOK_SECRETS are for the scheme v1: where {PREFIX}CALLBACK_SOURCES gives "
            "the provider another, use `callsheet secrets add`"
        )
        raise SettingError(msg)
    if settings.lease <= settings.provider_timeout:
        msg = f"{PREFIX}LEASE must be more than {PREFIX}PROVIDER_TIMEOUT"
        raise SettingError(msg)
