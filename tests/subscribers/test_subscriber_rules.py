"""Validation of subscribers: both sides of every limit, and every error at once."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kit.errors import Invalid
from service.kit.network.url_policy import parse_networks
from service.kit.validation import MAX_ERRORS
from service.subscribers.domain import subscriber_rules
from service.subscribers.domain.subscriber_rules import (
    EVENT_TYPES,
    TYPES,
    UrlRules,
    read_change,
    read_create,
)

RULES = UrlRules(parse_networks("127.0.0.0/8"))
URLS = {
    "webhook": "https://hooks.example.com/a",
    "nats": "nats://nats.example.com:4222",
    "redis_stream": "rediss://redis.example.com/3",
}
SECRET = "whsec_" + "A" * 32  # 24 bytes


def body(kind: str = "webhook", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    whole = {"type": kind, "url": URLS[kind]}
    return whole | ({} if kind == "webhook" else {"channel": "ours"}) | changes


def field_errors(given: object) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as raised:
        read_create(given, RULES)
    assert all(error.message for error in raised.value.errors)
    return [(error.pointer, error.code) for error in raised.value.errors]


def changing(given: object, kind: str = "webhook") -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as raised:
        read_change(given, kind, RULES)
    return [(error.pointer, error.code) for error in raised.value.errors]


def test_a_url_is_all_that_is_needed() -> None:
    assert read_create({"url": "https://a.example"}, RULES) == {
        "type": "webhook",
        "url": "https://a.example",
    }


def test_every_field_is_read_into_its_stored_form() -> None:
    given_body = body(
        "nats",
        event_types=[*EVENT_TYPES, EVENT_TYPES[0]],
        reference_types=["image_refer"],
        tags=["o_108", "o_101", "o_108"],
        headers={"Authorization": "Bearer x y", "X-Empty": ""},
        timeout=1,
        schedule=[0, 2.5],
        concurrency=1,
        rate=3,
        order="none",
        signatures=["v1a", "v1"],
        format="cloudevents",
        secret=SECRET,
        username="ü",
        password="p",
        description="",
    )
    assert read_create(given_body, RULES) == given_body | {
        "event_types": EVENT_TYPES,
        "reference_types": ("image_refer",),
        "tags": ("o_108", "o_101"),
        "timeout": 1.0,
        "schedule": (0.0, 2.5),
        "rate": 3.0,
        "signatures": ("v1", "v1a"),
        "secret": bytes(24),
    }


LIMITS: tuple[tuple[str, tuple[object, ...], tuple[tuple[object, str], ...]], ...] = (
    ("description", ("", "x" * 200, "ü\u3000 "), (("x" * 201, "too_long"),)),
    ("description", ("</script>",), (("a\nb", "control_character"), ("\0", "control_character"))),
    ("description", (), (("\r", "control_character"), ("\ud800", "control_character"))),
    ("timeout", (1, 1.0, 30, 29.99), ((0.99, "out_of_range"), (30.01, "out_of_range"))),
    ("timeout", (), ((True, "wrong_type"), ("5", "wrong_type"), (float("nan"), "out_of_range"))),
    ("timeout", (), ((float("inf"), "out_of_range"), (10**400, "out_of_range"))),
    ("concurrency", (1, 1000), ((0, "out_of_range"), (1001, "out_of_range"))),
    ("concurrency", (), ((1.0, "wrong_type"), (True, "wrong_type"), (10**400, "out_of_range"))),
    ("rate", (0.01, 10_000), ((0.009, "out_of_range"), (10_000.5, "out_of_range"))),
    ("rate", (), ((0, "out_of_range"), (-1, "out_of_range"), (False, "wrong_type"))),
    ("schedule", ([0], [7 * 86400] * 20), (([], "too_few"), ([1] * 21, "too_many"))),
    ("schedule", (), ((5, "wrong_type"), ({}, "wrong_type"))),
    ("order", ("per_subject", "none"), (("any", "not_allowed"),)),
    ("signatures", (["v1"], ["v1", "v1a"]), (([], "too_few"), (["v1a"], "v1_needed"))),
    ("signatures", (), (("v1", "wrong_type"),)),
    ("event_types", (["subject.failed"],), (([], "too_few"), ("x", "wrong_type"))),
    ("event_types", (["subject.failed"] * 100,), ((["subject.failed"] * 101, "too_many"),)),
    ("tags", (["o_101"], ["o_108"]), (([], "too_few"), ({}, "wrong_type"))),
    ("reference_types", (["video_refer"],), (([], "too_few"), (7, "wrong_type"))),
    ("secret", (SECRET, "whsec_" + "A" * 86), (("whsec_" + "A" * 31, "secret"),)),
    ("secret", (), (("whsec_" + "A" * 87, "secret"), ("A" * 32, "secret"), (5, "wrong_type"))),
    ("format", ("standard",), (("cloudevents", "not_for_webhooks"), ("xml", "not_allowed"))),
    ("channel", (), (("ours", "not_for_webhooks"), (5, "not_for_webhooks"))),
    ("username", (), (("ada", "not_for_webhooks"),)),
    ("password", (), (("hidden", "not_for_webhooks"),)),
    ("headers", ({}, {"X": "y"}), (([], "wrong_type"),)),
    (
        "headers",
        ({f"x-{n}": "" for n in range(20)},),
        (({f"x{n}": "" for n in range(21)}, "too_many"),),
    ),
    ("headers", ({"X": "v" * 4095},), (({"X": "v" * 4096}, "too_long"),)),
)


@pytest.mark.parametrize(("name", "good", "bad"), LIMITS)
def test_each_limit_holds_on_both_sides(
    name: str, good: tuple[object, ...], bad: tuple[tuple[object, str], ...]
) -> None:
    for value in good:
        assert name in read_create(body() | {name: value}, RULES), value
    for value, code in bad:
        assert field_errors(body() | {name: value}) == [(f"/{name}", code)], value
        if name != "secret":
            assert changing({name: value}) == [(f"/{name}", code)], value


STREAMS: tuple[tuple[str, str, tuple[object, ...], tuple[tuple[object, str], ...]], ...] = (
    ("nats", "channel", ("a", "a.b-c", "x" * 255), (("", "too_short"), ("x" * 256, "too_long"))),
    (
        "nats",
        "channel",
        (),
        tuple((text, "not_a_subject") for text in ("a.*", "a.>", "a..b", "$A")),
    ),
    (
        "nats",
        "channel",
        (),
        ((".a", "not_a_subject"), ("a b", "not_visible"), (5, "wrong_type")),
    ),
    ("redis_stream", "channel", ("a:b", "*>..$"), (("a\n", "not_visible"), (5, "wrong_type"))),
    ("nats", "username", ("u", "x" * 256), (("", "too_short"), ("x" * 257, "too_long"))),
    ("nats", "password", ("p p",), (("a\r\nb", "control_character"), (5, "wrong_type"))),
    ("redis_stream", "format", ("standard", "cloudevents"), ((5, "wrong_type"),)),
)


@pytest.mark.parametrize(("kind", "name", "good", "bad"), STREAMS)
def test_a_stream_has_fields_of_its_own(
    kind: str, name: str, good: tuple[object, ...], bad: tuple[tuple[object, str], ...]
) -> None:
    for value in good:
        assert name in read_create(body(kind, **{name: value}), RULES), value
    for value, code in bad:
        wrong = field_errors(body(kind, **{name: value}))
        assert (f"/{name}", code) in wrong, value
        assert {pointer for pointer, _ in wrong} == {f"/{name}"}
        assert (f"/{name}", code) in changing({name: value}, kind), value


def test_a_stream_needs_a_channel() -> None:
    for kind in ("nats", "redis_stream"):
        assert field_errors({"type": kind, "url": URLS[kind]}) == [("/channel", "required")]


GOOD_URLS = (
    *(("webhook", url) for url in ("https://a.example:8443/x?y", "http://127.0.0.1:65009")),
    *(("nats", url) for url in ("nats://a.example", "TLS://a.example:4222/", "nats://127.0.0.1")),
    *(("redis_stream", url) for url in ("redis://a.example:6379/15", "rediss://a.example/")),
)
BAD_URLS = (
    ("webhook", "nats://a.example", "url_scheme"),
    ("webhook", "https://10.0.0.1", "url_address"),
    ("nats", "https://a.example", "url_scheme"),
    ("nats", "a.example:4222", "url_scheme"),
    ("nats", "nats://u:p@a.example", "url_userinfo"),
    ("nats", "nats://169.254.169.254", "url_address"),
    ("nats", "nats://a.example:0", "url_port"),
    ("nats", "nats://a.example/x", "url_path"),
    ("nats", "nats://a.example?x", "url_path"),
    ("nats", "nats://a.example,b.example", "url_host"),
    ("nats", "nats://a b", "url_malformed"),
    ("nats", "nats://" + "a" * 8186, "url_too_long"),
    ("redis_stream", "nats://a.example", "url_scheme"),
    ("redis_stream", "redis://:hidden@a.example", "url_userinfo"),
    ("redis_stream", "redis://[::1]", "url_address"),
    ("redis_stream", "redis://a.example/zero", "url_path"),
    ("redis_stream", "redis://a.example/0#x", "url_path"),
    ("redis_stream", "unix:///run/redis", "url_scheme"),
)


def test_each_type_has_its_schemes() -> None:
    for kind, url in GOOD_URLS:
        assert read_create(body(kind, url=url), RULES)["url"] == url
        assert read_change({"url": url}, kind, RULES) == {"url": url}
    for kind, url, code in BAD_URLS:
        assert field_errors(body(kind, url=url)) == [("/url", code)], url
        assert changing({"url": url}, kind) == [("/url", code)], url


def test_everything_wrong_is_said_at_once() -> None:
    wrong = {
        "type": "redis_stream",
        "url": 7,
        "event_types": ["subject.eaten", 7, "subject.failed"],
        "tags": ["o_109"],
        "schedule": [1, -1, True],
        "signatures": ["v2"],
        "state": "paused",
        "shade~/": 1,
    }
    assert set(field_errors(wrong)) == {
        ("/url", "wrong_type"),
        ("/channel", "required"),
        ("/event_types/0", "not_allowed"),
        ("/event_types/1", "wrong_type"),
        ("/tags/0", "not_allowed"),
        ("/schedule/1", "out_of_range"),
        ("/schedule/2", "wrong_type"),
        ("/signatures/0", "not_allowed"),
        ("/signatures", "v1_needed"),
        ("/state", "unknown_field"),
        ("/shade~0~1", "unknown_field"),
    }
    assert set(field_errors({"type": "smtp", "timeout": 0, "channel": 5})) == {
        ("/url", "required"),
        ("/type", "not_allowed"),
        ("/timeout", "out_of_range"),
    }
    assert field_errors([]) == [("", "wrong_type")]


def test_a_change_is_read_by_itself() -> None:
    assert read_change({}, "webhook", RULES) == {}
    reset = dict.fromkeys(
        ("event_types", "reference_types", "tags", "timeout", "concurrency", "rate", "schedule")
    )
    assert read_change(reset | {"state": "paused"}, "webhook", RULES) == reset | {"state": "paused"}
    assert read_change({"username": None, "password": "p"}, "nats", RULES) == {
        "username": None,
        "password": "p",
    }
    for state in ("disabled", 5):
        assert [at for at, _ in changing({"state": state})] == ["/state"]


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_null_in_a_new_subscriber_is_left_out(kind: str) -> None:
    needed = body(kind)
    nulls = dict.fromkeys([*subscriber_rules.FIELD_NAMES, "secret"])
    assert read_create(nulls | needed, RULES) == needed
    assert field_errors(nulls | {"type": kind}) == field_errors({"type": kind})
    assert read_create(nulls | body() | {"type": None}, RULES) == body()


@pytest.mark.parametrize("kind", TYPES)
def test_what_is_null_in_a_change_is_back_to_its_default_where_it_has_one(kind: str) -> None:
    defaults: dict[str, Any] = {
        **dict.fromkeys(("event_types", "reference_types", "tags", "timeout", "concurrency")),
        **dict.fromkeys(("rate", "schedule", "username", "password")),
        "description": "",
        "headers": {},
        "order": "per_subject",
        "signatures": ("v1",),
        "format": "standard",
    }
    assert read_change(dict.fromkeys(defaults), kind, RULES) == defaults
    stays = ("url", "channel", "state", "type", "secret")
    assert read_change(dict.fromkeys(stays), kind, RULES) == {}


def test_neither_type_nor_secret_is_changed() -> None:
    assert set(changing({"type": "webhook", "secret": SECRET, "id": "x"})) == {
        ("/type", "not_changeable"),
        ("/secret", "not_changeable"),
        ("/id", "unknown_field"),
    }
    assert changing([]) == [("", "wrong_type")]


def test_no_secret_stands_in_an_error() -> None:
    wrong = body(
        "nats",
        secret="whsec_hidden!",
        password="hidden\n",
        username="hidden\0",
        url="nats://hidden:hidden@a.example",
        headers={"X-Key": "hidden\r\n"},
    )
    with pytest.raises(Invalid) as raised:
        read_create(wrong, RULES)
    assert len(raised.value.errors) == 5
    assert "hidden" not in str(raised.value.errors)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
words = st.sampled_from([*EVENT_TYPES, *TYPES, *URLS.values(), "v1", "v1a", "o_101", SECRET, "***"])
values = st.recursive(
    scalars | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(sorted({*subscriber_rules.FIELD_NAMES, "type", "secret", "state"}))


@given(st.dictionaries(names | st.text(), values) | values, st.sampled_from(TYPES))
def test_no_json_value_raises_anything_but_invalid(given_body: object, kind: str) -> None:
    for read in (read_create, partial(read_change, type_=kind)):
        try:
            read(given_body, rules=RULES)
        except Invalid as error:
            assert 0 < len(error.errors) <= MAX_ERRORS  # noqa: PT017 - either way is fine
