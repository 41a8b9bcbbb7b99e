"""Settings: every one documented, and each bad one refused in a line that names it."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

import service
from service.kit.database.url import parse_hosts
from service.settings import (
    PREFIX,
    SettingError,
    Settings,
    read_settings,
    unknown_variables,
    variable,
)

EXAMPLE = Path(service.__file__).parent.parent / "deploy" / "env.example"
GIVEN = {
    "DATABASE_URL": "postgresql://u:p@localhost/db",
    "REDIS_URL": "redis://localhost:6379/0",
    "PUBLIC_URL": "https://callsheet.example.com/",
    "SECRET_KEY": "c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seSwgMzIgYnk=",
    "PROVIDER_API_KEY": "a-provider-key",
}


def read(**changes: str | None) -> Settings:
    """The settings above, with changes; None leaves one out."""
    given = GIVEN | changes
    return read_settings({PREFIX + name: text for name, text in given.items() if text is not None})


def test_the_example_lists_every_setting_with_its_default_and_meaning() -> None:
    blocks = EXAMPLE.read_text().strip().split("\n\n")[1:]
    assert len(blocks) == len(fields(Settings))
    for setting, block in zip(fields(Settings), blocks, strict=True):
        *comment, line = block.splitlines()
        default = setting.metadata["default"]
        name, _, text = line.removeprefix("#").partition("=")
        assert name == variable(setting)
        meaning = " ".join(part.removeprefix("# ") for part in comment)
        assert meaning.removesuffix(" Must be given.") == setting.metadata["meaning"]
        assert meaning.endswith(" Must be given.") == (default is None)
        assert default is None or text == default


def test_what_is_given_is_read() -> None:
    settings = read(POLL_AFTER="2.5", DELIVERY_SCHEDULE="1, 2,3", ALLOW_HTTP="true")
    assert settings.public_url == "https://callsheet.example.com"
    assert settings.poll_after == 2.5
    assert list(settings.delivery_schedule) == [1, 2, 3]
    assert settings.allow_http
    assert read().poll_after is None


def test_a_variable_that_is_no_setting_is_known_by_name_with_the_setting_it_is_most_like() -> None:
    given = {
        "CALLSHEET_LEASE": "12",
        "CALLSHEET_PROVIDER_PARALEL": "4",
        "CALLSHEET_X": "5",
        "CALLSHEET_URL": "a caller's",
        "X": "6",
    }
    nearest = {"CALLSHEET_PROVIDER_PARALEL": "CALLSHEET_PROVIDER_PARALLEL", "CALLSHEET_X": None}
    assert unknown_variables(given) == nearest


def test_a_setting_that_is_missing_by_a_slip_of_the_pen_is_told_of_the_slip() -> None:
    with pytest.raises(SettingError) as refusal:
        read(DATABASE_URL=None, DATABSE_URL="postgresql://u:hidden@localhost/db")
    but = "is not set, but CALLSHEET_DATABSE_URL is, which is no setting: "
    assert str(refusal.value).startswith(f"CALLSHEET_DATABASE_URL {but}")
    assert "hidden" not in str(refusal.value)


def test_the_provider_time_out_follows_the_lease_unless_given() -> None:
    assert read().provider_timeout == 20
    assert read(LEASE="3").provider_timeout == 2
    assert read(PROVIDER_TIMEOUT="7").provider_timeout == 7


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DATABASE_URL", None),
        ("DATABASE_URL", "mysql://u:hidden@localhost/db"),
        ("DATABASE_URL", "postgresql://u:hidden@[nowhere/db"),
        ("DATABASE_URL", "postgresql:hidden"),
        ("DATABASE_URL", "postgresql://u:hidden@more@localhost/db"),
        ("DATABASE_URL", "postgresql://u:hid/den@localhost/db"),
        ("DATABASE_URL", "postgresql://u:hid#den@localhost/db"),
        ("DATABASE_URL", "postgresql://u:hidden?hidden@localhost/db"),
        ("DATABASE_URL", "postgresql://u:hid[den@localhost/db"),
        ("DATABASE_URL", "postgresql://u:hidden@h1,,h2/db"),
        ("DATABASE_URL", "postgresql://u:hidden@h1:0/db"),
        ("DATABASE_URL", "postgresql://u:hidden@h1:many/db"),
        ("DATABASE_URL", "postgresql://u:hidden@h1,h2,h3/db?port=1,2"),
        ("DATABASE_URL", "postgresql://u:hidden@h1/db?sslmode=some"),
        ("DATABASE_URL", "postgresql://u:hidden@h1,h2/db?target_session_attrs=standby"),
        ("DATABASE_URL", "postgresql://u:hidden@h1/db?sslmode=require&channel_binding=require"),
        ("DATABASE_POOL", "4"),
        ("REDIS_URL", "redis://:hid/den@localhost/0"),
        ("REDIS_URL", "redis://:hid#den@localhost/0"),
        ("REDIS_URL", "redis://:hidden@localhost:0/0"),
        ("REDIS_URL", "redis://:hidden@localhost?db=first"),
        ("REDIS_URL", "redis:///0"),
        ("REDIS_URL", "unix://hidden.example/socket"),
        ("REDIS_URL", "http://:hidden@localhost"),
        ("PUBLIC_URL", "callsheet.example.com"),
        ("PREVIOUS_SECRET_KEYS", "c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seSwgMzIgYnk= c2hvcnQ="),
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "aGlkZGVu"),
        ("SECRET_KEY", "hidden!"),
        ("PROVIDER_URL", "ftp://hidden.example"),
        ("PROVIDER_API_KEY", None),
        ("PROVIDER_API_KEY", "hidden key"),
        ("PROVIDER_API_KEY", "hiddän"),
        ("PROVIDER_SECRET_KEY", "hidden\nkey"),
        ("PROVIDER_PARALLEL", "0"),
        ("PROVIDER_PARALLEL", "many"),
        ("WEBHOOK_SECRETS", "hidden"),
        ("WEBHOOK_SECRETS", "whsec_aGlkZGVu"),
        ("WEBHOOK_SECRETS", "whsec_hidden!"),
        ("ALLOWED_PRIVATE_TARGETS", "10.0.0.0/8, nonsense"),
        ("ALLOWED_PORTS", ""),
        ("ALLOWED_PORTS", "443, hidden"),
        ("ALLOW_HTTP", "yes"),
        ("POLL_AFTER", "soon"),
        ("TASK_DEADLINE", "-1"),
        ("TASK_DEADLINE", "nan"),
        ("DELIVERY_SCHEDULE", "5,later"),
        ("LOG_LEVEL", "loud"),
        ("PUBLIC_URL", "https://hidden.example/?a=b"),
        ("PUBLIC_URL", "https://hidden.example/a#b"),
        ("PORT", "65536"),
        ("PORT", "9465"),  # the inner port of the worker
        ("INNER_PORT", "65536"),
        ("INNER_PORT", "9464,"),
        ("INNER_PORT", "1,2,3"),
        ("HOST", ""),
        ("QUEUE_NAME", " "),
        ("REDIS_URL", "redis://:hidden@localhost/first"),
        ("POLLS_PER_SECOND", "0"),
        ("CALLBACK_SOURCES", "hidden"),
        ("CALLBACK_SOURCES", '{"relay": {"scheme": "hidden"}}'),
    ],
)
def test_a_bad_value_is_refused_in_one_line_that_names_it(name: str, text: str | None) -> None:
    with pytest.raises(SettingError) as refused:
        read(**{name: text})
    message = str(refused.value)
    assert re.match(rf"{PREFIX}{name}(: | is not set)", message)
    assert "\n" not in message
    assert "hidden" not in message


def test_an_empty_secret_key_is_told_how_to_make_one() -> None:
    with pytest.raises(SettingError, match=r"is empty: .*32 bytes in Base64.*openssl rand"):
        read(SECRET_KEY="")


TAKEN = {
    "postgresql://u:p@h1:5432,h2:5433/db?target_session_attrs=read-write": [
        ("h1", 5432),
        ("h2", 5433),
    ],
    "postgres://u@h1,h2/db?port=6432&target_session_attrs=primary": [("h1", 6432), ("h2", 6432)],
    "postgresql://u@h1,h2:7/db?port=5,6": [("h1", 5), ("h2", 7)],
    "postgresql://u:p@/db?host=/run/postgresql": [("/run/postgresql", None)],
    "postgresql://u:p@/db?host=/run/postgresql,h2&port=5,6": [("/run/postgresql", 5), ("h2", 6)],
    "postgresql://%2Frun%2Fpostgresql/db": [("/run/postgresql", None)],
    "postgresql://u:p@[::1]:5432/db": [("::1", 5432)],
    "postgresql://u:p@[::1],[::2]:7/db": [("::1", None), ("::2", 7)],
    "postgresql:///db?sslmode=verify-full&sslrootcert=/etc/root.crt": [(None, None)],
    "postgresql://u%40x:p%40ss%2Fw%23rd%3F@h/db": [("h", None)],
    "postgresql://h?user=u&password=p": [("h", None)],
    "postgresql://h/db?service=main": [("h", None)],
}


@pytest.mark.parametrize("url", TAKEN)
def test_addresses_of_postgres_are_taken_as_the_driver_takes_them(url: str) -> None:
    assert read(DATABASE_URL=url).database_url == url
    assert parse_hosts(url) == TAKEN[url]


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h", "redis://h:6379/0", "rediss://u:p%40ss%2Fw%23rd%3F@h/15", "redis://:p@h"),
        *("redis://h?db=3", "redis://[::1]:6379/0", "unix:///run/redis.sock?db=1"),
        "unix://u:p@/run/redis.sock",
    ],
)
def test_addresses_of_redis_are_taken(url: str) -> None:
    assert read(REDIS_URL=url).redis_url == url


@pytest.mark.parametrize(
    ("text", "ports"),
    [(None, (9464, 9465)), ("", (None, None)), ("7", (7, 7)), ("7, 8", (7, 8)), ("0", (0, 0))],
)
def test_web_and_worker_each_have_an_inner_port(
    text: str | None, ports: tuple[int | None, int | None]
) -> None:
    assert read(INNER_PORT=text).inner_port == ports


@pytest.mark.parametrize("text", ["", None])
def test_there_need_be_no_redis(text: str | None) -> None:
    assert read(REDIS_URL=text).redis_url is None


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("postgresql://h1,h2/db?target_session_attrs=prefer-standby", "primary, read-write"),
        ("postgresql://h1/db?connect_timeout=10", "must do without connect_timeout"),
        ("postgresql://u:p/w@h1/db", "percent-encoded"),
        ("mysql://h1/db", "starts with postgresql:// or postgres://"),
        ("postgresql://h1,/db", "before and after each comma"),
        ("postgresql://h1,h2,h3/db?port=1,2", "one port for all hosts, or one for each"),
        ("postgresql://h1/db?sslmode=on", "sslmode of disable"),
        ("postgresql://h1/db?sslmode", "name=value"),
    ],
)
def test_an_address_of_postgres_is_refused_with_what_is_true(url: str, rule: str) -> None:
    with pytest.raises(SettingError, match=rule):
        read(DATABASE_URL=url)


def test_a_lease_must_outlast_the_provider_time_out() -> None:
    with pytest.raises(SettingError, match=f"{PREFIX}LEASE must be more"):
        read(LEASE="10", PROVIDER_TIMEOUT="10")


def test_the_secrets_of_the_settings_are_for_a_provider_that_signs_v1() -> None:
    secret = "whsec_" + "dGVzdCBzZWNyZXQgZm9yIHRlc3RzIG9ubHk="
    v1, other = (json.dumps({"provider": {"scheme": scheme}}) for scheme in ("v1", "v1a"))
    assert read(WEBHOOK_SECRETS=secret, CALLBACK_SOURCES=v1).webhook_secrets
    with pytest.raises(SettingError, match=f"{PREFIX}WEBHOOK_SECRETS are for the scheme v1"):
        read(WEBHOOK_SECRETS=secret, CALLBACK_SOURCES=other)


def test_a_pair_of_keys_does_instead_of_one() -> None:
    settings = read(PROVIDER_API_KEY=None, PROVIDER_ACCESS_KEY="a", PROVIDER_SECRET_KEY="s")
    assert settings.provider_access_key == "a"
    with pytest.raises(SettingError):
        read(PROVIDER_API_KEY=None, PROVIDER_ACCESS_KEY="a")


def test_secrets_do_not_show() -> None:
    shown = repr(read())
    for secret in ("u:p@", "a-provider-key", "secret key for tests"):
        assert secret not in shown
