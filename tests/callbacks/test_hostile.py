"""Hostile callbacks: whatever the headers and the body hold, SignatureError and nothing else."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.callbacks.domain.signature_schemes import V1, Ed25519, Hmac, SharedSecret
from service.callbacks.domain.verification import (
    MAX_MESSAGE_ID,
    MAX_SIGNATURES,
    retained_headers,
    verify_signature,
)
from service.kit.errors import SignatureError
from tests.support.signed_callbacks import (
    BODY,
    KEY,
    NOW,
    TASK_ID,
    TIMESTAMP,
    UNSIGNED_CALLBACK,
    VERIFIABLE,
    WITH_SIGNATURE,
    SignedCallback,
    base64_of,
    source_of,
    standard_headers,
)

HOSTILE = {
    "empty": "",
    "blank": " ",
    "NUL": "\0",
    "control characters": "\x01\x1b[2J\x7f",
    "line break": "a\r\nwebhook-id: b",
    "Latin-1": "\xe9",
    "full-width digits": "\uff11" * 10,
    "Arabic digits": "\u0661" * 10,
    "half a surrogate pair": "\udcff",
    "other half": "\ud800",
    "astral": "\U0001f600",
    "64 kB": "x" * 65536,
    "64 kB of blanks": " " * 65536,
    "64 kB of labels": "v1," * 21845,
    "64 kB of surrogates": "\udcff" * 65536,
    "a thousand signatures": " ".join(["v1,x", "v1a,x", "v3,x", "x"] * 250),
    "a thousand commas": "," * 1000,
    "no Base64": "v1,!!!! v1a,!!!! v3,!!!! !!!!",
    "Base64 cut short": "v1,A v1a,A v3,A A",
    "Base64 of 64 zeros": "v1a," + "A" * 86 + "==",
    "hex of 64 zeros": "0" * 128,
    "padding": "v1,==== v1a,==== v3,==== ====",
    "labels alone": "v1, v1a, v3, sha512=",
    "zero": "0",
    "leading zero": f"0{TIMESTAMP}",
    "sign": f"+{TIMESTAMP}",
    "negative": f"-{TIMESTAMP}",
    "fraction": f"{TIMESTAMP}.0",
    "exponent": "1e9",
    "underscores": "1_781_080_794",
    "spaces around": f" {TIMESTAMP} ",
    "line break after": f"{TIMESTAMP}\n",
    "not a number": "nan",
    "infinity": "inf",
    "4301 digits": "9" * 4301,
    "milliseconds": f"{TIMESTAMP}000",
    "percent": "%(body)b %s %n",
    "braces": "{body}{0.__class__}",
    "JSON": '{"webhook-id": null}',
}
SEPARATORS = {
    delivery.source: "," if delivery.source == "body-only" else " " for delivery in WITH_SIGNATURE
}


@pytest.mark.parametrize("hostile", list(HOSTILE))
@pytest.mark.parametrize("delivery", VERIFIABLE, ids=source_of)
def test_a_hostile_value_in_any_header_is_refused(delivery: SignedCallback, hostile: str) -> None:
    for name in delivery.headers:
        received = dict(delivery.headers) | {name: HOSTILE[hostile]}
        with pytest.raises(SignatureError):
            verify_signature(delivery.scheme, delivery.keys, received, BODY, NOW, task_id=TASK_ID)


@pytest.mark.parametrize("hostile", list(HOSTILE))
@pytest.mark.parametrize("delivery", WITH_SIGNATURE, ids=source_of)
def test_a_hostile_signature_after_a_good_one_does_no_harm(
    delivery: SignedCallback, hostile: str
) -> None:
    good, separator = delivery.headers[delivery.signature], SEPARATORS[delivery.source]
    received = dict(delivery.headers) | {delivery.signature: good + separator + HOSTILE[hostile]}
    message_id = verify_signature(
        delivery.scheme, delivery.keys, received, BODY, NOW, task_id=TASK_ID
    )
    assert message_id == delivery.message_id


@pytest.mark.parametrize("delivery", VERIFIABLE, ids=source_of)
def test_each_header_of_a_delivery_is_needed(delivery: SignedCallback) -> None:
    for name in delivery.headers:
        rest = {key: value for key, value in delivery.headers.items() if key != name}
        with pytest.raises(SignatureError, match=f"{name} is missing"):
            verify_signature(delivery.scheme, delivery.keys, rest, BODY, NOW, task_id=TASK_ID)


@pytest.mark.parametrize("delivery", WITH_SIGNATURE, ids=source_of)
def test_no_more_than_sixteen_signatures_are_looked_at(delivery: SignedCallback) -> None:
    good, separator = delivery.headers[delivery.signature], SEPARATORS[delivery.source]
    listed = separator.join(["x"] * (MAX_SIGNATURES - 1) + [good])
    for text, passes in ((listed, True), (f"x{separator}{listed}", False)):
        received = dict(delivery.headers) | {delivery.signature: text}
        try:
            verify_signature(delivery.scheme, delivery.keys, received, BODY, NOW, task_id=TASK_ID)
        except SignatureError:
            assert not passes
        else:
            assert passes


@pytest.mark.parametrize(
    "message_id", ["msg 1", "msg\t1", "m" * (MAX_MESSAGE_ID + 1), "\x7f", "msg_1\n"]
)
def test_an_id_is_visible_and_short(message_id: str) -> None:
    for delivery in WITH_SIGNATURE[:2]:
        received = dict(delivery.headers) | {"webhook-id": message_id}
        with pytest.raises(SignatureError, match="webhook-id is missing or is not a message id"):
            verify_signature(delivery.scheme, delivery.keys, received, BODY, NOW)


@pytest.mark.parametrize(
    "text",
    [f"0{TIMESTAMP}", f"00{TIMESTAMP}", "178108079\u0664", f"{TIMESTAMP}\n", f"+{TIMESTAMP}"],
)
def test_a_time_has_one_spelling_even_if_another_was_signed(text: str) -> None:
    signed = hmac.digest(KEY, f"msg_1.{text}.".encode() + BODY, "sha256")
    received = standard_headers("v1," + base64_of(signed)) | {"webhook-timestamp": text}
    with pytest.raises(
        SignatureError, match="webhook-timestamp is missing or is not a time in Unix seconds"
    ):
        verify_signature(V1, [KEY], received, BODY, NOW)


def test_what_no_encoder_takes_is_not_taken_for_a_question_mark() -> None:
    scheme = SharedSecret()
    for secret, offered in (("what?", "what\udcff"), ("caf?", "caf\xe9"), ("\xe9", "\xc3\xa9")):
        with pytest.raises(SignatureError, match="does not match"):
            verify_signature(
                scheme, [secret.encode("latin-1")], {scheme.header: offered}, BODY, NOW
            )


TEXT = st.text(st.characters())
NAMES = sorted({name for delivery in VERIFIABLE for name in delivery.headers})
GENUINE = sorted({value for delivery in VERIFIABLE for value in delivery.headers.values()})
CHANGES = st.dictionaries(
    st.sampled_from(NAMES) | TEXT,
    TEXT | st.sampled_from(GENUINE) | st.sampled_from(list(HOSTILE.values())),
)


@given(
    st.sampled_from([*VERIFIABLE, UNSIGNED_CALLBACK]),
    st.booleans(),
    CHANGES,
    st.binary() | st.just(BODY),
    TEXT | st.none() | st.just(TASK_ID),
)
def test_nothing_but_what_was_signed_is_believed_and_nothing_else_is_raised(
    delivery: SignedCallback,
    from_genuine: bool,  # noqa: FBT001 - drawn
    changes: dict[str, str],
    body: bytes,
    task_id: str | None,
) -> None:
    scheme = delivery.scheme
    received = (dict(delivery.headers) if from_genuine else {}) | changes
    try:
        message_id = verify_signature(scheme, delivery.keys, received, body, NOW, task_id=task_id)
    except SignatureError:
        assert delivery is not UNSIGNED_CALLBACK
        return
    assert message_id == delivery.message_id
    assert body == BODY or not scheme.covers_body
    assert task_id == TASK_ID or not scheme.signs_task_id
    for name, value in delivery.headers.items():
        assert value in received[name] if name == delivery.signature else value == received[name]


@given(st.sampled_from([*VERIFIABLE, UNSIGNED_CALLBACK]), CHANGES)
def test_whatever_the_headers_what_is_retained_of_them_can_be_stored(
    delivery: SignedCallback, changes: dict[str, str]
) -> None:
    retained = retained_headers(delivery.scheme, dict(delivery.headers) | changes, b"a key of ours")
    assert set(retained) <= set(delivery.headers)
    for value in retained.values():
        assert "\0" not in value
        assert value.encode().decode() == value


@given(st.data())
def test_a_genuine_signature_among_any_garbage_passes(data: st.DataObject) -> None:
    delivery = data.draw(st.sampled_from(WITH_SIGNATURE))
    scheme, separator = delivery.scheme, SEPARATORS[delivery.source]
    assert isinstance(scheme, Hmac | Ed25519)
    garbage = TEXT | TEXT.map(lambda text: scheme.label + text) | st.sampled_from(GENUINE)
    other_signatures = st.lists(garbage.map(lambda text: text.replace(separator, "")), max_size=15)
    before = data.draw(other_signatures)
    after = data.draw(other_signatures)[: MAX_SIGNATURES - 1 - len(before)]
    listed = separator.join([*before, delivery.headers[delivery.signature], *after])
    received = dict(delivery.headers) | {delivery.signature: listed}
    message_id = verify_signature(scheme, delivery.keys, received, BODY, NOW, task_id=TASK_ID)
    assert message_id == delivery.message_id


@given(st.binary(min_size=1), TEXT)
def test_a_shared_secret_is_matched_by_itself_alone(key: bytes, value: str) -> None:
    scheme = SharedSecret()
    for offered in (value, key.decode("latin-1") + value):
        try:
            verify_signature(scheme, [key], {scheme.header: offered}, b"", NOW)
        except SignatureError:
            assert offered != key.decode("latin-1")
        else:
            assert offered == key.decode("latin-1")
