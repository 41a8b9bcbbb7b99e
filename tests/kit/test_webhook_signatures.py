"""Standard Webhooks: the published vectors and verifier, and nothing raised but one error."""

import base64
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from service.callbacks.domain.signature_schemes import V1A, read_secret
from service.callbacks.domain.verification import (
    MAX_MESSAGE_ID,
    MAX_SIGNATURES,
    verify_signature,
    verify_v1,
)
from service.kit.crypto.key_formats import format_whpk, format_whsec, parse_whsec
from service.kit.crypto.webhook_signatures import (
    jwk,
    jwk_thumbprint,
    public_key_from_seed,
    signature_headers,
)
from service.kit.errors import SignatureError

VENDOR_BODY = (
    b'{"id":"1234567890","status":"succeeded","message":"",'
    b'"create_time":1781080778802,"update_time":1781080794151}'
)
VENDOR = (
    "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI=",
    "9876543210",
    1781080794,
    VENDOR_BODY,
    "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
)
LIBRARY = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "msg_p5jXN8AQM9LWM0D4loKWxJek",
    1614265330,
    b'{"test": 2432232314}',
    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
)
KEY, OTHER = b"k" * 32, b"o" * 24
AT = 1781080794
NOW = datetime.fromtimestamp(AT, UTC)
BODY = b'{"id":"1"}'
# RFC 8037, appendix A: a seed, its public key, and the thumbprint of that.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
SIGNED = signature_headers([KEY], "msg_1", AT, BODY)
GOOD = SIGNED["webhook-signature"]


@pytest.mark.parametrize(("secret", "message_id", "at", "body", "signed"), [VENDOR, LIBRARY])
def test_the_published_vectors_hold(
    secret: str, message_id: str, at: int, body: bytes, signed: str
) -> None:
    key = parse_whsec(secret)
    ours = signature_headers([key], message_id, at, body)
    assert ours == {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": signed,
    }
    assert verify_v1([key], ours, body, datetime.fromtimestamp(at, UTC)) == message_id


def test_the_published_verifiers_believe_what_we_sign() -> None:
    at = int(time.time())
    for key in (KEY, OTHER):
        ours = signature_headers([KEY, OTHER], "evt_1", at, BODY, seeds=[SEED])
        assert Webhook(format_whsec(key)).verify(BODY, ours) == {"id": "1"}
        SvixWebhook(format_whsec(key)).verify(BODY, ours)  # or it raises


def test_we_believe_what_the_published_signer_signs() -> None:
    signed = Webhook(format_whsec(KEY)).sign("msg_1", NOW, BODY.decode())
    assert signed == GOOD


def test_a_secret_and_its_key_are_one_with_padding_or_without() -> None:
    for length in range(24, 65):
        key = bytes(range(length))
        assert parse_whsec(format_whsec(key)) == key
        assert parse_whsec(format_whsec(key).rstrip("=")) == key


@pytest.mark.parametrize(
    ("secret", "rule"),
    [
        ("", "starts with whsec_"),
        (format_whsec(KEY).removeprefix("whsec_"), "starts with whsec_"),
        ("whsec_", "24 to 64 bytes"),
        (format_whsec(b"x" * 23), "24 to 64 bytes"),
        (format_whsec(b"x" * 65), "24 to 64 bytes"),
        ("whsec_" + "A" * 33, "is Base64"),
        ("whsec_" + "?" * 32, "is Base64"),
        ("whsec_" + "\xe9" * 32, "is Base64"),
        ("whsec_\udcff", "is Base64"),
    ],
)
def test_what_is_no_secret_is_refused_unrepeated(secret: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as raised:
        parse_whsec(secret)
    assert not secret.removeprefix("whsec_") or secret not in str(raised.value)


def test_while_a_secret_rotates_either_key_passes() -> None:
    both = signature_headers([KEY, OTHER], "msg_1", AT, BODY)
    assert both["webhook-signature"].count(" ") == 1
    for keys in ([KEY], [OTHER], [OTHER, KEY], [b"new" * 10, KEY]):
        assert verify_v1(keys, both, BODY, NOW) == "msg_1"
    assert verify_v1([OTHER, KEY], SIGNED, BODY, NOW) == "msg_1"
    with pytest.raises(SignatureError):
        verify_v1([OTHER], SIGNED, BODY, NOW)
    with pytest.raises(SignatureError):
        verify_v1([], SIGNED, BODY, NOW)


@pytest.mark.parametrize(
    "beside",
    ["", "v1", "v1,", "v1,?", "v2,abc", "v1a,abc", "v3,00", ",", "\xe9", "\udcff", "v1,\udcff"],
)
def test_a_malformed_signature_beside_a_good_one_does_no_harm(beside: str) -> None:
    for listed in (f"{beside} {GOOD}", f"{GOOD} {beside}"):
        assert verify_v1([KEY], SIGNED | {"webhook-signature": listed}, BODY, NOW) == "msg_1"
    with pytest.raises(SignatureError):
        verify_v1([KEY], SIGNED | {"webhook-signature": beside}, BODY, NOW)


def test_only_so_many_signatures_are_looked_at() -> None:
    listed = " ".join(["v1,x"] * (MAX_SIGNATURES - 1) + [GOOD])
    assert verify_v1([KEY], SIGNED | {"webhook-signature": listed}, BODY, NOW) == "msg_1"
    with pytest.raises(SignatureError):
        verify_v1([KEY], SIGNED | {"webhook-signature": "v1,x " + listed}, BODY, NOW)


@pytest.mark.parametrize("seconds", [-300, -299.9, 0, 299.9, 300])
def test_within_five_minutes_a_message_is_believed(seconds: float) -> None:
    assert verify_v1([KEY], SIGNED, BODY, NOW + timedelta(seconds=seconds)) == "msg_1"


@pytest.mark.parametrize("seconds", [-301, -300.001, 300.001, 301, 1e8, -1e8])
def test_outside_five_minutes_it_is_not(seconds: float) -> None:
    with pytest.raises(SignatureError, match="too far from now"):
        verify_v1([KEY], SIGNED, BODY, NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", f"{AT}.0", f"-{AT}", f"+{AT}", f" {AT}", f"0{AT}", "1e9", "1_781_080_794"),
        *("9" * 13, "\u0661" * 10, "\u00b2", "\udcff"),
    ],
)
def test_a_timestamp_is_digits_as_they_were_signed(text: str) -> None:
    with pytest.raises(SignatureError):
        verify_v1([KEY], SIGNED | {"webhook-timestamp": text}, BODY, NOW)


@pytest.mark.parametrize(
    "message_id", ["", "msg_2", "msg 1", "msg_\xe9", "\udcff", "m" * (MAX_MESSAGE_ID + 1)]
)
def test_an_id_is_the_one_that_was_signed(message_id: str) -> None:
    with pytest.raises(SignatureError):
        verify_v1([KEY], SIGNED | {"webhook-id": message_id}, BODY, NOW)


def test_the_longest_id_passes() -> None:
    signed = signature_headers([KEY], "m" * MAX_MESSAGE_ID, AT, BODY)
    assert verify_v1([KEY], signed, BODY, NOW) == "m" * MAX_MESSAGE_ID


@pytest.mark.parametrize("name", list(SIGNED))
def test_each_header_is_needed(name: str) -> None:
    rest = {key: value for key, value in SIGNED.items() if key != name}
    with pytest.raises(SignatureError, match=name):
        verify_v1([KEY], rest, BODY, NOW)


@given(
    st.binary(),
    st.binary(min_size=24, max_size=64),
    st.text(
        st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=MAX_MESSAGE_ID
    ),
)
def test_every_body_that_we_sign_we_believe_and_no_other(
    body: bytes, key: bytes, message_id: str
) -> None:
    signed = signature_headers([key], message_id, AT, body)
    assert verify_v1([key], signed, body, NOW) == message_id
    with pytest.raises(SignatureError):
        verify_v1([key], signed, body + b" ", NOW)


TEXT = st.text(st.characters())


@given(
    st.dictionaries(st.sampled_from(list(SIGNED)) | TEXT, TEXT | st.sampled_from([str(AT), GOOD])),
    st.binary(),
    st.lists(st.binary(), max_size=3),
)
def test_whatever_the_headers_and_the_body_nothing_else_is_raised(
    changes: dict[str, str], body: bytes, keys: list[bytes]
) -> None:
    for received in (changes, SIGNED | changes):
        try:
            verify_v1(keys, received, body, NOW)
        except SignatureError:
            continue
        raise AssertionError


def test_the_signature_is_over_the_key_bytes_not_over_their_text() -> None:
    text = base64.b64encode(KEY)
    with pytest.raises(SignatureError):
        verify_v1([text], SIGNED, BODY, NOW)


def test_a_public_key_is_shown_and_named_as_the_published_one() -> None:
    public = public_key_from_seed(SEED)
    assert jwk_thumbprint(public) == THUMBPRINT
    assert jwk(public) == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": PUBLIC,
        "use": "sig",
        "alg": "EdDSA",
        "kid": THUMBPRINT,
    }
    assert read_secret(V1A, format_whpk(public)) == public


def test_each_seed_adds_a_signature_after_those_of_the_secrets() -> None:
    seeds = [SEED, b"s" * 32]
    both = signature_headers([KEY, OTHER], "msg_1", AT, BODY, seeds=seeds)
    labels = [signature.partition(",")[0] for signature in both["webhook-signature"].split(" ")]
    assert labels == ["v1", "v1", "v1a", "v1a"]
    assert both["webhook-signature"].startswith(GOOD + " ")
    for seed in seeds:
        assert verify_signature(V1A, [public_key_from_seed(seed)], both, BODY, NOW) == "msg_1"
    assert verify_v1([OTHER], both, BODY, NOW) == "msg_1"
    with pytest.raises(SignatureError):
        verify_signature(V1A, [public_key_from_seed(SEED)], both, BODY + b" ", NOW)
