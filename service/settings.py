"""Settings: one frozen dataclass, read from the environment once and checked at the start.

`deploy/env.example` lists all of them; a test compares it with this file.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from service.callbacks.domain.signature_schemes import V1, Scheme
from service.callbacks.domain.sources import PROVIDER, read_sources
from service.delivery.domain.retries import DELIVERY_SCHEDULE
from service.kit import setting_parsers as parse
from service.kit.database.url import parse_database_url
from service.kit.network.ports import parse_ports
from service.kit.network.url_policy import parse_networks
from service.kit.validation import ValidationContext, quotable
from service.retention.domain.floors import floors, in_days
from service.retention.domain.retention import kept_for

PREFIX = "CALLSHEET_"
OF_CALLERS: Final = frozenset({"URL", "KEY"})  # cli_callers.py reads them: whom it asks, as whom


class SettingError(Exception):
    """A setting is missing or wrong. The message is one line that names it, never its value."""


def _setting(default: str | None, parser: Callable[[str], Any], meaning: str, **kw: Any) -> Any:  # noqa: ANN401
    """A field of Settings: its default as text (None: it must be given), the function that parses
    its text and raises ValueError, and its meaning, a sentence that operators read."""
    metadata = {"default": default, "parse": parser, "meaning": meaning}
    return field(metadata=metadata, **kw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a process; durations are in seconds."""

    database_url: str = _setting(
        None,
        parse_database_url,
        "The URL of Postgres 15 or newer: postgresql://user:password@host:port/name. With several "
        "hosts, host1:port,host2:port/name?target_session_attrs=read-write, the first that can "
        "write is used. With a socket it is user:password@/name?host=/run/postgresql. Special "
        "characters in a password are percent-encoded: @ is %40.",
        repr=False,
    )
    database_pool: int = _setting(
        "23",
        parse.integer(5, 1000),
        "The most connections to Postgres of one process, web or worker. All processes together "
        "must have fewer than max_connections of Postgres.",
    )
    redis_url: str | None = _setting(
        "",
        parse.optional(parse.redis_url),
        "The URL of Redis or Valkey, from which workers take arq jobs: "
        "redis://user:password@host:port/0, rediss:// with TLS, or unix:///path?db=0. Special "
        "characters in a password are percent-encoded. Empty: no jobs are taken.",
        repr=False,
    )
    public_url: str = _setting(
        None,
        parse.base_url,
        "The URL at which the provider reaches us with its callbacks. If it has a path, every URL "
        "that we print begins with that path; a proxy in front removes it before it forwards a "
        "request.",
    )
    secret_key: bytes = _setting(
        None,
        parse.secret_key,
        "32 random bytes in Base64. They encrypt secrets at rest and sign callback addresses.",
        repr=False,
    )
    previous_secret_keys: tuple[bytes, ...] = _setting(
        "",
        parse.secret_keys,
        "Other keys that still decrypt secrets and verify callback addresses, separated by "
        "spaces: earlier SECRET_KEYs, until `callsheet reencrypt` has run and TASK_DEADLINE has "
        "passed; and the next one, while only some processes have it.",
        repr=False,
    )
    provider_url: str = _setting(
        "https://api-singapore.klingai.com", parse.url("http", "https"), "The provider's base URL."
    )
    provider_api_key: str = _setting(
        "",
        parse.credential,
        "The provider's API key; or give PROVIDER_ACCESS_KEY and PROVIDER_SECRET_KEY.",
        repr=False,
    )
    provider_access_key: str = _setting(
        "", parse.credential, "The provider's access key, where it issues key pairs.", repr=False
    )
    provider_secret_key: str = _setting(
        "", parse.credential, "The secret key that belongs to PROVIDER_ACCESS_KEY.", repr=False
    )
    provider_parallel: int = _setting(
        "10",
        parse.integer(1, 100_000),
        "The most subjects with the provider at once, from claim to end, over all workers.",
    )
    provider_timeout: float = _setting(
        "",
        parse.optional(parse.seconds(0.1, 600)),
        "The most seconds that one call to the provider may take. Empty: two thirds of LEASE, but "
        "at most 20.",
    )
    webhook_secrets: tuple[bytes, ...] = _setting(
        "",
        parse.webhook_secrets,
        "The provider's webhook secrets, whsec_…, separated by spaces. If there are any, every "
        "callback must be signed. Empty: a callback is only a hint, and the state is read back "
        "from the provider.",
        repr=False,
    )
    callback_sources: Mapping[str, Scheme] = _setting(
        "",
        read_sources,
        'How further sources of callbacks sign, as JSON: {"relay": {"scheme": "v1"}}. The schemes '
        "are v1, v1a, hmac, ed25519, shared-secret and unsigned. The name provider describes the "
        "provider itself, which otherwise signs v1.",
    )
    allowed_private_targets: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "",
        parse_networks,
        "CIDR ranges, separated by commas, of private addresses that media, subscriber and "
        "callback URLs may reach.",
    )
    allowed_ports: Container[int] = _setting(
        "80,443,1024-65535",
        parse_ports,
        "Ports and ranges of ports, separated by commas, that subscriber, callback and media URLs "
        "may name.",
    )
    allow_http: bool = _setting(
        "false",
        parse.boolean,
        "Whether subscriber URLs may be http://, nats:// or redis://, which are not encrypted, "
        "outside ALLOWED_PRIVATE_TARGETS: true or false. A request's callback_url may be http:// "
        "in any case.",
    )
    poll_after: float | None = _setting(
        "",
        parse.optional(parse.seconds(0.1, 86400)),
        "Seconds without a callback until the provider is polled for a task. Empty: the typical "
        "duration of such tasks.",
    )
    polls_per_second: int = _setting(
        "20",
        parse.integer(1, 10_000),
        "The most polls of the provider in one second, over all workers. After a pause, as many "
        "are made at once.",
    )
    task_deadline: float = _setting(
        "86400",
        parse.seconds(1, 30 * 86400),
        "Seconds from acceptance until a subject fails with the code deadline_exceeded.",
    )
    lease: float = _setting(
        "30",
        parse.seconds(0.2, 3600),
        "Seconds until other workers take over what a dead worker had claimed; a living worker "
        "renews its leases three times in them. It must be more than PROVIDER_TIMEOUT.",
    )
    not_found_grace: float = _setting(
        "10",
        parse.seconds(0, 3600),
        "Seconds after a lost answer in which a task that the provider cannot find may still "
        "appear there.",
    )
    delivery_schedule: tuple[float, ...] = _setting(
        ",".join(f"{seconds:g}" for seconds in DELIVERY_SCHEDULE),
        parse.delays,
        "Seconds until each further delivery attempt, separated by commas; the first is at once.",
    )
    delivery_timeout: float = _setting(
        "20", parse.seconds(0.1, 30), "The most seconds that one delivery attempt may take."
    )
    failing_after: float = _setting(
        "43200",
        parse.seconds(0.1, 30 * 86400),
        "Seconds in which all deliveries to a subscriber have failed until its account is "
        "notified that it is failing.",
    )
    disable_after: float = _setting(
        "432000",
        parse.seconds(0.1, 30 * 86400),
        "Seconds from that notice until the subscriber is disabled, if its deliveries still fail.",
    )
    delivery_concurrency: int = _setting(
        "256", parse.integer(1, 10_000), "The most delivery attempts at once in one worker."
    )
    max_subscribers_per_account: int = _setting(
        "100", parse.integer(1, 100_000), "The most subscribers that one account may have."
    )
    requests_per_second: float | None = _setting(
        "",
        parse.optional(parse.number(0.1, 1_000_000)),
        "The most requests of one account in one second, over all its keys and all web processes. "
        "After a pause, as many are taken at once. Empty: no limit.",
    )
    max_queued_per_account: int = _setting(
        "100000",
        parse.integer(1, 10_000_000),
        "The most subjects of one account that may be queued at once. Further requests are "
        "refused with 429.",
    )
    media_concurrency: int = _setting(
        "8",
        parse.integer(1, 1000),
        "The most subjects at once in one worker whose media, given by URL, are fetched and "
        "checked. Each takes up to 10 MB of memory, and one account gets at most half of the "
        "slots.",
    )
    media_timeout: float = _setting(
        "60",
        parse.seconds(0.1, 3600),
        "The most seconds that the download of one image or video may take, redirects included.",
    )
    allow_voice_for_images: bool = _setting(
        "false",
        parse.boolean,
        "Whether image subjects may bind a voice: true or false. The provider has allowed it "
        "since 2026-03-23, though its page on creating subjects does not.",
    )
    sweep_interval: float = _setting(
        "1",
        parse.seconds(0.05, 3600),
        "Seconds between a worker's checks for work of which no notification came.",
    )
    retention_succeeded_days: int = _setting(
        "90",
        parse.integer(0, 3650),
        "Days that succeeded subjects are kept after their end, with their events, deliveries and "
        "attempts. 0: for ever.",
    )
    retention_failed_days: int = _setting(
        "180",
        parse.integer(0, 3650),
        "Days that failed subjects are kept after their end, with their events, deliveries and "
        "attempts. 0: for ever.",
    )
    retention_canceled_days: int = _setting(
        "30",
        parse.integer(0, 3650),
        "Days that canceled subjects are kept after their end, with their events, deliveries and "
        "attempts. 0: for ever.",
    )
    retention_callbacks_days: int = _setting(
        "35", parse.integer(0, 3650), "Days that raw callbacks are kept. 0: for ever."
    )
    retention_answers_days: int = _setting(
        "14",
        parse.integer(0, 3650),
        "Days that the starts of subscribers' answers are kept; the rest of an attempt stays as "
        "long as its subject. 0: as long as that too.",
    )
    retention_actions_days: int = _setting(
        "400",
        parse.integer(0, 3650),
        "Days that the action log, and bulk operations that have ended, are kept. 0: for ever.",
    )
    retention_snapshot_days: int = _setting(
        "2",
        parse.integer(0, 3650),
        "Days that the snapshot of each minute (what waited in each stage) is kept. 0: for ever.",
    )
    moment_file: str | None = _setting(
        "",
        parse.optional(parse.text),
        "The path of a file in which the last moment of the database is noted, outside of it, so "
        "that a restored backup is found out. Empty: it is noted in Redis and in memory alone.",
    )
    queue_name: str = _setting(
        "callsheet", parse.text, "The name of our arq queue, in which other back ends enqueue jobs."
    )
    host: str = _setting("127.0.0.1", parse.text, "The address that web listens on.")
    port: int = _setting("8000", parse.integer(0, 65535), "The port that web listens on.")
    inner_port: tuple[int | None, int | None] = _setting(  # of web, and of the worker
        "9464,9465",
        parse.two_ports,
        "The port on 127.0.0.1 with /metrics, /healthz and /readyz, which need no key there: of "
        "web, and behind a comma of the worker, or one for whichever it is. 0: any that is free. "
        "Empty: there is none.",
    )
    log_format: str = _setting(
        "json", parse.one_of("json", "text"), "How a log line is written: json, or text for people."
    )
    tracing: bool = _setting(
        "false",
        parse.boolean,
        "Whether spans are made and sent, by OpenTelemetry: true or false. It needs the extra "
        "tracing; where they go, and how many are kept, its own variables say, such as "
        "OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER_ARG.",
    )
    log_level: str = _setting(
        "info",
        parse.one_of("debug", "info", "warning", "error"),
        "The least level that is logged: debug, info, warning or error.",
    )


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`, each named by PREFIX and its field in capitals. SettingError names
    the first that is missing or wrong."""
    values = {setting.name: _read(setting, environ) for setting in fields(Settings)}
    if values["provider_timeout"] is None:
        values["provider_timeout"] = min(20.0, values["lease"] * 2 / 3)
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _read(setting: Field[Any], environ: Mapping[str, str]) -> Any:  # noqa: ANN401
    name = variable(setting)
    text = environ.get(name, setting.metadata["default"])
    if text is None:
        similar = [
            given for given, nearest in unknown_variables(environ).items() if nearest == name
        ]
        but = f", but {' and '.join(similar)} is, which is no setting" if similar else ""
        raise SettingError(f"{name} is not set{but}: {setting.metadata['meaning']}")
    try:
        return setting.metadata["parse"](text.strip())
    except ValueError as error:
        raise SettingError(f"{name}: {error}") from None


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Variables whose names begin with PREFIX and are no setting, nor of callers' commands, each
    with the setting whose name is most like it (None: there is none)."""
    known = [setting.name.upper() for setting in fields(Settings)]
    given = [name.removeprefix(PREFIX) for name in environ if name.startswith(PREFIX)]
    context, found = ValidationContext(), {}
    for name in sorted(set(given) - set(known) - OF_CALLERS):
        nearest = context.closest_name(name, known)
        found[PREFIX + quotable(name)] = PREFIX + nearest if nearest else None
    return found


def variable(setting: Field[Any]) -> str:
    """The name of the environment variable of a field of Settings."""
    return PREFIX + setting.name.upper()


def _check_together(settings: Settings) -> None:
    pair = (settings.provider_access_key, settings.provider_secret_key)
    if not settings.provider_api_key and not all(pair):
        raise SettingError(
            f"{PREFIX}PROVIDER_API_KEY is not set, "
            f"nor are {PREFIX}PROVIDER_ACCESS_KEY and {PREFIX}PROVIDER_SECRET_KEY"
        )
    if settings.webhook_secrets and settings.callback_sources[PROVIDER] is not V1:
        raise SettingError(
            f"{PREFIX}WEBHOOK_SECRETS are for the scheme v1: where {PREFIX}CALLBACK_SOURCES gives "
            "the provider another scheme, use `callsheet secrets add`"
        )
    if settings.port and settings.port in settings.inner_port:
        raise SettingError(f"{PREFIX}PORT: must not be a port of {PREFIX}INNER_PORT")
    if settings.lease <= settings.provider_timeout:
        raise SettingError(f"{PREFIX}LEASE must be more than {PREFIX}PROVIDER_TIMEOUT")
    _check_retention(settings)


def _check_retention(settings: Settings) -> None:
    """Refuse to keep anything for less than its floors: those who still need it would miss it."""
    ages = kept_for(settings)
    lowest = floors(settings.delivery_schedule, settings.task_deadline)
    for kind, (floor, why) in lowest.items():
        age = ages[kind]
        if age is not None and age < floor:
            raise SettingError(
                f"{PREFIX}RETENTION_{kind.value.upper()}_DAYS: must be at least {in_days(floor)}, "
                f"or 0 to keep them for ever: {why}"
            )
