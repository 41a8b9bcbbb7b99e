"""The setting that describes sources is read whole, or refused in one line that says why."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.callbacks.domain.signature_schemes import (
    UNSIGNED,
    V1,
    V1A,
    Ed25519,
    Hmac,
    Scheme,
    SharedSecret,
)
from service.callbacks.domain.sources import PROVIDER, read_sources
from tests.support.signed_callbacks import SETTING, SOURCES

GOOD = {"scheme": "hmac", "signature_header": "s", "signed": "{body}", "encoding": "hex"} | {
    "key": "text"
}


def test_without_the_setting_there_is_the_provider_alone() -> None:
    for text in ("", "  \n", "{}"):
        assert dict(read_sources(text)) == {PROVIDER: V1}


def test_each_description_is_read_as_it_is_written() -> None:
    assert list(SOURCES) == ["provider", *json.loads(SETTING)]
    assert SOURCES["provider"] is V1
    assert SOURCES["relay"] is V1
    assert SOURCES["asymmetric"] is V1A
    assert SOURCES["old"] is UNSIGNED
    assert SOURCES["piapi"] == SharedSecret(header="x-webhook-secret", prefix="")
    assert SOURCES["bearer"] == SharedSecret(header="authorization", prefix="Bearer ")
    assert SOURCES["body-only"] == Hmac(
        signature_header="x-signature",
        signed="{body}",
        encoding="hex",
        key="hex",
        label="sha512=",
        separator=",",
        digest="sha512",
    )
    assert SOURCES["fal"] == Ed25519(
        id_header="x-fal-webhook-request-id",
        timestamp_header="x-fal-webhook-timestamp",
        signature_header="x-fal-webhook-signature",
        signed="{id}\n{header:X-Fal-Webhook-User-Id}\n{timestamp}\n{body_sha256}",
        encoding="hex",
        key="base64",
    )


def test_the_provider_can_be_described_anew() -> None:
    assert dict(read_sources('{"provider": {"scheme": "v1a"}}')) == {PROVIDER: V1A}


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", "1", "null", '"v1"', "{", "\udcff", "[" * 99999]
)
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a JSON object$"):
        read_sources(text)


@pytest.mark.parametrize("name", ["", "Relay", "1st", "a.b", "a_b", "a" * 33, "a\n", "\xe9", "-a"])
def test_a_source_has_a_plain_name(name: str) -> None:
    with pytest.raises(ValueError, match="a source's name is a-z, 0-9 and -") as raised:
        read_sources(json.dumps({name: {"scheme": "v1"}}))
    assert "\n" not in str(raised.value)
    assert list(read_sources(json.dumps({"a" * 32: {"scheme": "v1"}, "a1-": {"scheme": "v1"}})))


def test_nothing_is_named_twice() -> None:
    with pytest.raises(ValueError, match=r"^must not give a name twice$"):
        read_sources('{"a": {"scheme": "v1"}, "a": {"scheme": "unsigned"}}')
    with pytest.raises(ValueError, match=r"^a: must not give a name twice$"):
        read_sources('{"a": {"scheme": "unsigned", "scheme": "v1"}}')


@pytest.mark.parametrize(
    ("description", "rule"),
    [
        (None, "must be a JSON object"),
        ("v1", "must be a JSON object"),
        ([["scheme", "v1"]], "must be a JSON object"),
        ({}, "scheme must be one of v1, v1a, unsigned, hmac, ed25519, shared-secret"),
        ({"scheme": "v2"}, "scheme must be one of v1, "),
        ({"scheme": ["v1"]}, "scheme must be one of v1, "),
        ({"scheme": "v1", "key": "x"}, "unknown field 'key'; known are scheme"),
        (
            {"scheme": "shared-secret", "secret\n": "hidden"},
            r"unknown field 'secret\n'; known are scheme, header, prefix",
        ),
        (
            GOOD | {"template": "x"},
            "unknown field 'template'; known are scheme, signature_header, ",
        ),
        ({"scheme": "hmac"}, "signature_header is required"),
        ({"scheme": "ed25519", "signature_header": "s"}, "signed is required"),
        (
            {"scheme": "hmac", "signature_header": "s", "signed": "{body}", "encoding": "hex"},
            "key is required",
        ),
        (GOOD | {"label": 1}, "label must be a string"),
        (GOOD | {"label": None}, "label must be a string"),
        (GOOD | {"label": {"a": "b"}}, "label must be a string"),
        (GOOD | {"encoding": "base32"}, "encoding must be one of base64, hex"),
        (GOOD | {"digest": "md5"}, "digest must be one of sha256, sha512"),
        (GOOD | {"key": "whpk"}, "key must be one of whsec, base64, hex, text"),
        (GOOD | {"scheme": "ed25519"}, "key must be one of whpk, base64, hex"),
        (GOOD | {"scheme": "ed25519", "digest": "sha256"}, "unknown field 'digest'"),
        (GOOD | {"signature_header": ""}, "signature_header must be a header name"),
        (GOOD | {"signature_header": "two words"}, "signature_header must be a header name"),
        (GOOD | {"signature_header": "a:b"}, "signature_header must be a header name"),
        (GOOD | {"id_header": "\xe9", "signed": "{id}"}, "id_header must be a header name"),
        (GOOD | {"id_header": "i"}, "signed must name {id} if, and only if, id_header is given"),
        (GOOD | {"signed": "{id}.{body}"}, "signed must name {id} if, and only if"),
        (GOOD | {"timestamp_header": "t"}, "signed must name {timestamp} if, and only if"),
        (GOOD | {"signed": "{timestamp}{body}"}, "signed must name {timestamp} if, and only if"),
        (GOOD | {"signed": ""}, "signed must be 1 to 1000 ASCII characters"),
        (GOOD | {"signed": "{body}" + "x" * 995}, "signed must be 1 to 1000 ASCII characters"),
        (GOOD | {"signed": "{body}\xe9"}, "signed must be 1 to 1000 ASCII characters"),
        (GOOD | {"signed": "{body}\udcff"}, "signed must be 1 to 1000 ASCII characters"),
        (GOOD | {"signed": "{body}\0"}, "signed must be 1 to 1000 ASCII characters"),
        (
            GOOD | {"signed": "{bodies}"},
            "signed: '{bodies}' is none of {id}, {timestamp}, {body}, ",
        ),
        (GOOD | {"signed": "{body}{ id}"}, "signed: '{ id}' is none of"),
        (GOOD | {"signed": "{body}{}"}, "signed: '{}' is none of"),
        (GOOD | {"signed": "{body}{header:}"}, "signed: '{header:}' is none of"),
        (GOOD | {"signed": "{body}{header:a b}"}, "signed: '{header:a b}' is none of"),
        (GOOD | {"signed": "{body}{header:a)b}"}, "signed: '{header:a)b}' is none of"),
        (GOOD | {"signed": "{body}{\n}"}, r"signed: '{\n}' is none of"),
        (GOOD | {"signed": "{body}}"}, "signed: a brace stands only around the name of a"),
        (GOOD | {"signed": "{{body}"}, "signed: a brace stands only around the name of a"),
        (GOOD | {"signed": "a secret"}, "signed must name one of {body}, {body_sha256}, {task_id}"),
        (GOOD | {"signed": "{header:x-id}"}, "signed must name one of {body}"),
        (GOOD | {"label": "v\n"}, "label must be at most 64 ASCII characters"),
        (GOOD | {"label": "v" * 65}, "label must be at most 64 ASCII characters"),
        (GOOD | {"label": "v3 "}, "label must not contain the separator"),
        (GOOD | {"separator": ""}, "separator must be 1 to 8 ASCII characters"),
        (GOOD | {"separator": " and "}, "separator must be 1 to 8 ASCII characters"),
        (GOOD | {"separator": "="}, "separator must be 1 to 8 ASCII characters"),
        (GOOD | {"separator": ";" * 9}, "separator must be 1 to 8 ASCII characters"),
        ({"scheme": "shared-secret", "header": "a b"}, "header must be a header name"),
        ({"scheme": "shared-secret", "prefix": "\xe9"}, "prefix must be at most 64 ASCII"),
    ],
)
def test_a_bad_description_is_refused_by_source_field_and_rule(
    description: object, rule: str
) -> None:
    with pytest.raises(ValueError, match=r"^a-source: ") as raised:
        read_sources(json.dumps({"relay": {"scheme": "v1"}, "a-source": description}))
    message = str(raised.value).removeprefix("a-source: ")
    assert message.startswith(rule)
    assert "hidden" not in message
    assert "\n" not in message


def test_a_message_is_short_however_long_what_it_speaks_of() -> None:
    long = "x" * 99999
    for text in (f'{{"{long}": 1}}', f'{{"a": {{"scheme": "v1", "{long}": "x"}}}}'):
        sources = read(text)
        assert isinstance(sources, ValueError)
        assert len(str(sources)) < 200
    with pytest.raises(ValueError, match=r"^a: must be a JSON object$"):
        read_sources('{"a": ' + "9" * 5000 + "}")


def test_the_description_that_the_bad_ones_start_from_is_good() -> None:
    assert type(read_sources(json.dumps({"a": GOOD}))["a"]) is Hmac


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["v1", "hmac", "ed25519", "shared-secret", "{body}", "hex", "text", "s"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=5,
)
FIELDS = ["scheme", "header", "prefix", "id_header", "label", "separator", "digest", *GOOD]
DESCRIPTIONS = st.dictionaries(st.sampled_from(FIELDS) | st.text(st.characters()), VALUES)


@given(st.text(st.characters()))
def test_whatever_the_text_it_is_read_or_a_value_error_in_one_line(text: str) -> None:
    check(text)


@given(st.text(st.characters()) | st.just("a"), DESCRIPTIONS, st.sampled_from([{}, GOOD]))
def test_whatever_the_description_it_is_read_or_a_value_error_in_one_line(
    name: str, description: dict[str, object], start: dict[str, object]
) -> None:
    check(json.dumps({name: start | description}))


def check(text: str) -> None:
    sources = read(text)
    if isinstance(sources, ValueError):
        assert str(sources).isprintable()
        assert not isinstance(sources, UnicodeError | json.JSONDecodeError)
    else:
        assert PROVIDER in sources


def read(text: str) -> Mapping[str, Scheme] | ValueError:
    try:
        return read_sources(text)
    except ValueError as error:
        return error
