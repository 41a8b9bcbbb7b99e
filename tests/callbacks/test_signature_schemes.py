"""Signature verification: the signatures of each scheme are accepted, and no others."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from service.callbacks.domain.signature_schemes import (
    UNSIGNED,
    V1,
    V1A,
    Ed25519,
    Hmac,
    Scheme,
    SharedSecret,
    Template,
    compile_template,
    read_secret,
)
from service.callbacks.domain.verification import (
    MAX_RETAINED,
    keyed_hash,
    retained_headers,
    verify_signature,
)
from service.kit.errors import SignatureError
from tests.support.signed_callbacks import (
    BODY,
    KEY,
    NOW,
    PUBLIC_KEY,
    SIGNED_CONTENT,
    SOURCES,
    TASK_ID,
    TIMESTAMP,
    UNSIGNED_CALLBACK,
    VERIFIABLE,
    WITH_SHARED_SECRET,
    WITH_SIGNATURE,
    SignedCallback,
    asymmetric,
    base64_of,
    bearer,
    body_only,
    kie,
    piapi,
    relay,
    source_of,
    standard_headers,
    wavespeed,
)

HASH_KEY = b"a key of ours"


def verified_id(
    delivery: SignedCallback,
    changes: Mapping[str, str] = MappingProxyType({}),
    *,
    body: bytes = BODY,
    task_id: str = TASK_ID,
) -> str | None:
    """Verify a delivery with some of its headers changed; its message id."""
    received = {**delivery.headers, **changes}
    return verify_signature(delivery.scheme, delivery.keys, received, body, NOW, task_id=task_id)


@pytest.mark.parametrize("delivery", [*VERIFIABLE, UNSIGNED_CALLBACK], ids=source_of)
def test_every_source_is_verified_as_it_signs(delivery: SignedCallback) -> None:
    assert verified_id(delivery) == delivery.message_id


def test_every_source_of_the_example_has_its_deliverer() -> None:
    assert {delivery.source for delivery in (*VERIFIABLE, UNSIGNED_CALLBACK)} == set(SOURCES) - {
        "provider"
    }


@pytest.mark.parametrize("delivery", WITH_SIGNATURE, ids=source_of)
def test_another_secret_is_not_believed_and_beside_the_right_one_does_no_harm(
    delivery: SignedCallback,
) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    args = (delivery.headers, BODY, NOW)
    with pytest.raises(SignatureError, match="No signature matches"):
        verify_signature(delivery.scheme, [other], *args, task_id=TASK_ID)
    keys = [other, *delivery.keys]
    assert verify_signature(delivery.scheme, keys, *args, task_id=TASK_ID) == delivery.message_id


@pytest.mark.parametrize("delivery", VERIFIABLE, ids=source_of)
def test_without_a_secret_nothing_is_believed(delivery: SignedCallback) -> None:
    with pytest.raises(SignatureError, match="No secret is known for this source"):
        verify_signature(delivery.scheme, [], delivery.headers, BODY, NOW, task_id=TASK_ID)


@pytest.mark.parametrize(
    ("delivery", "covers", "reads"),
    [
        *(
            (delivery, delivery.source != "kie", delivery.source == "kie")
            for delivery in WITH_SIGNATURE
        ),
        *((delivery, False, False) for delivery in (*WITH_SHARED_SECRET, UNSIGNED_CALLBACK)),
    ],
)
def test_a_scheme_says_what_its_signature_covers(
    delivery: SignedCallback, *, covers: bool, reads: bool
) -> None:
    assert delivery.scheme.covers_body is covers
    assert delivery.scheme.signs_task_id is reads
    if covers:
        with pytest.raises(SignatureError):
            verified_id(delivery, body=BODY + b" ")
    else:
        assert verified_id(delivery, body=BODY + b" ") == delivery.message_id


def test_a_signed_task_must_be_the_one_the_body_names() -> None:
    with pytest.raises(SignatureError, match="No signature matches"):
        verified_id(kie(), task_id="task_2")
    with pytest.raises(SignatureError, match="names no task"):
        verified_id(kie(), task_id="")
    with pytest.raises(SignatureError, match="names no task"):
        verify_signature(kie().scheme, kie().keys, kie().headers, BODY, NOW)


@pytest.mark.parametrize("seconds", [-300.001, 300.001, 1e8, -1e8])
@pytest.mark.parametrize(
    "delivery",
    [delivery for delivery in WITH_SIGNATURE if delivery is not WITH_SIGNATURE[-1]],
    ids=source_of,
)
def test_a_signed_time_must_be_near(delivery: SignedCallback, seconds: float) -> None:
    late = NOW + timedelta(seconds=seconds)
    with pytest.raises(SignatureError, match="timestamp is too far from now"):
        verify_signature(
            delivery.scheme, delivery.keys, delivery.headers, BODY, late, task_id=TASK_ID
        )
    near = NOW + timedelta(seconds=min(300, max(-300, seconds)))
    message_id = verify_signature(
        delivery.scheme, delivery.keys, delivery.headers, BODY, near, task_id=TASK_ID
    )
    assert message_id == delivery.message_id


def test_where_no_time_is_signed_none_is_asked_for() -> None:
    delivery = body_only()
    years_later = NOW + timedelta(days=3650)
    assert (
        verify_signature(delivery.scheme, delivery.keys, delivery.headers, BODY, years_later)
        is None
    )


def test_the_published_package_and_v1_believe_each_other() -> None:
    secret = relay().secret
    signed = Webhook(secret).sign("msg_1", NOW, BODY.decode())
    assert (
        verify_signature(V1, [read_secret(V1, secret)], standard_headers(signed), BODY, NOW)
        == "msg_1"
    )
    assert signed == relay().headers["webhook-signature"]


def test_a_signature_counts_under_its_own_label_alone() -> None:
    v1, v1a = (delivery.headers["webhook-signature"] for delivery in (relay(), asymmetric()))
    v3 = wavespeed().headers["webhook-signature"]
    for other in ("v1a,", "v2,", "V1,", "v1", "v1, ", "v11,", ",", ""):
        with pytest.raises(SignatureError):
            verified_id(relay(), {"webhook-signature": other + v1.removeprefix("v1,")})
    with pytest.raises(SignatureError):
        verified_id(asymmetric(), {"webhook-signature": "v1," + v1a.removeprefix("v1a,")})
    for other in ("v1,", "v3", ""):
        with pytest.raises(SignatureError):
            verified_id(wavespeed(), {"webhook-signature": other + v3.removeprefix("v3,")})
    for delivery in (relay(), asymmetric(), wavespeed()):
        assert verified_id(delivery, {"webhook-signature": f"{v3} {v1a} {v1}"}) == "msg_1"


def test_a_public_key_is_never_accepted_for_a_secret() -> None:
    made = base64_of(hmac.digest(PUBLIC_KEY, SIGNED_CONTENT, "sha256"))
    for label in ("v1,", "v1a,"):
        with pytest.raises(SignatureError):
            verified_id(asymmetric(), {"webhook-signature": label + made})
    v1a = asymmetric().headers["webhook-signature"]
    for signature in (v1a, "v1," + v1a.removeprefix("v1a,")):
        with pytest.raises(SignatureError):
            verify_signature(V1, [PUBLIC_KEY, KEY], standard_headers(signature), BODY, NOW)


def test_hex_is_read_in_either_case_and_base64_in_its_one_spelling() -> None:
    digits = wavespeed().headers["webhook-signature"].removeprefix("v3,")
    assert verified_id(wavespeed(), {"webhook-signature": "v3," + digits.upper()}) == "msg_1"
    with pytest.raises(SignatureError):
        verified_id(wavespeed(), {"webhook-signature": "V3," + digits})
    for delivery in (relay(), asymmetric()):
        text = delivery.headers["webhook-signature"]
        last = text.rstrip("=")[-1]
        padding = len(text) - len(text.rstrip("="))
        sibling = text.rstrip("=")[:-1] + chr(ord(last) + 1) + "=" * padding
        same = base64.b64decode(sibling.partition(",")[2])
        assert same == base64.b64decode(text.partition(",")[2])
        with pytest.raises(SignatureError):
            verified_id(delivery, {"webhook-signature": sibling})


def test_a_key_of_another_length_matches_nothing() -> None:
    for key in (b"", b"x" * 31, b"x" * 33):
        with pytest.raises(SignatureError, match="No signature matches"):
            verify_signature(V1A, [key], asymmetric().headers, BODY, NOW)
    assert (
        verify_signature(V1A, [b"x" * 64, PUBLIC_KEY], asymmetric().headers, BODY, NOW) == "msg_1"
    )


@pytest.mark.parametrize(
    ("delivery", "header", "value"),
    [
        (piapi(), "x-webhook-secret", piapi().secret[:-1]),
        (piapi(), "x-webhook-secret", piapi().secret + "\xe9"),
        (piapi(), "x-webhook-secret", "Bearer " + piapi().secret),
        (piapi(), "x-webhook-secret", keyed_hash(HASH_KEY, piapi().secret)),
        (bearer(), "authorization", bearer().secret),
        (bearer(), "authorization", "bearer " + bearer().secret),
        (bearer(), "authorization", "Bearer "),
    ],
)
def test_a_shared_secret_is_the_whole_of_it(
    delivery: SignedCallback, header: str, value: str
) -> None:
    with pytest.raises(SignatureError, match="does not match"):
        verified_id(delivery, {header: value})
    keys = [b"another-shared-secret", *delivery.keys]
    assert verify_signature(delivery.scheme, keys, delivery.headers, BODY, NOW) is None


@pytest.mark.parametrize("delivery", [*VERIFIABLE, UNSIGNED_CALLBACK], ids=source_of)
def test_what_is_stored_is_enough_to_verify_again_and_no_secret(delivery: SignedCallback) -> None:
    noise = {"cookie": "noise", "authorization": "noise"} | dict(delivery.headers)
    retained = retained_headers(delivery.scheme, noise, HASH_KEY)
    assert set(retained) == set(delivery.headers)
    assert delivery.secret not in " ".join(retained.values()) or not delivery.secret
    message_id = verify_signature(
        delivery.scheme, delivery.keys, retained, BODY, NOW, task_id=TASK_ID, hash_key=HASH_KEY
    )
    assert message_id == delivery.message_id


@pytest.mark.parametrize("delivery", WITH_SHARED_SECRET, ids=source_of)
def test_a_hashed_secret_counts_only_where_it_was_stored(delivery: SignedCallback) -> None:
    retained = retained_headers(delivery.scheme, delivery.headers, HASH_KEY)
    with pytest.raises(SignatureError):
        verify_signature(delivery.scheme, delivery.keys, retained, BODY, NOW)
    with pytest.raises(SignatureError):
        verify_signature(
            delivery.scheme, delivery.keys, delivery.headers, BODY, NOW, hash_key=HASH_KEY
        )
    with pytest.raises(SignatureError):
        verify_signature(
            delivery.scheme, [b"another-shared-secret"], retained, BODY, NOW, hash_key=HASH_KEY
        )


@pytest.mark.parametrize("delivery", VERIFIABLE, ids=source_of)
def test_a_header_that_cannot_be_stored_whole_is_left_out(delivery: SignedCallback) -> None:
    for name in delivery.headers:
        for value in ("x" * (MAX_RETAINED + 1), "nul\0", "half \udcff"):
            retained = retained_headers(
                delivery.scheme, dict(delivery.headers) | {name: value}, HASH_KEY
            )
            assert set(retained) == set(delivery.headers) - {name}
        longest = dict(delivery.headers) | {name: "x" * MAX_RETAINED}
        assert set(retained_headers(delivery.scheme, longest, HASH_KEY)) == set(delivery.headers)
    assert retained_headers(delivery.scheme, {}, HASH_KEY) == {}


def test_a_template_is_compiled_once_and_signs_percent_signs_and_newlines_as_they_are() -> None:
    assert compile_template("100% {body}\n") == Template(b"100%% %(body)b\n", frozenset(["body"]))
    scheme = Hmac(
        signature_header="x-signature",
        signed="%(id)b %% {header:X-User}\n{body}{body_sha256}{body}",
        encoding="hex",
        key="text",
    )
    digest = hashlib.sha256(BODY).hexdigest().encode()
    content = b"%(id)b %% \xe9\n" + BODY + digest + BODY
    signed = hmac.digest(KEY, content, "sha256").hex()
    received = {"x-signature": signed, "x-user": "\xe9"}
    assert verify_signature(scheme, [KEY], received, BODY, NOW) is None
    with pytest.raises(SignatureError, match="x-user is missing"):
        verify_signature(scheme, [KEY], {"x-signature": signed}, BODY, NOW)


def test_the_presets_are_what_is_published() -> None:
    vendor = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
    body = (
        b'{"id":"1234567890","status":"succeeded","message":"",'
        b'"create_time":1781080778802,"update_time":1781080794151}'
    )
    received = {
        "webhook-id": "9876543210",
        "webhook-timestamp": str(TIMESTAMP),
        "webhook-signature": "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
    }
    assert verify_signature(V1, [read_secret(V1, vendor)], received, body, NOW) == "9876543210"
    kinds: list[Scheme] = [V1, V1A, SharedSecret(), UNSIGNED]
    assert [type(scheme) for scheme in kinds[:2]] == [Hmac, Ed25519]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    ("label", "separator"),
    [("", " "), ("", ","), ("v1,", " "), ("v1,", ";"), ("sha256=", ","), ("a, b ", ";")],
)
@pytest.mark.parametrize("joint", [",", ", "])
def test_lines_that_were_joined_by_commas_are_still_several_signatures(
    label: str, separator: str, joint: str
) -> None:
    scheme = Hmac(
        signature_header="x",
        signed="{body}",
        encoding="hex",
        key="text",
        label=label,
        separator=separator,
    )
    good = f"{label}{hmac.digest(KEY, BODY, 'sha256').hex()}"
    others = [f"{label}{'0' * 64}", f"v9,{'0' * 64}"]
    for items in ([good, *others], [*others, good], [others[0], good, others[1]], [good]):
        verify_signature(scheme, [KEY], {"x": joint.join(items)}, BODY, NOW)
    with pytest.raises(SignatureError):
        verify_signature(scheme, [KEY], {"x": joint.join(others)}, BODY, NOW)
