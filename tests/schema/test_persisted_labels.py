"""Labels that are a part of what is stored never change, whatever the code around them is called.

Each literal here was made with the labels as they are: with another, what is stored opens, or is
known again, no more.
"""

import hashlib
import hmac
from dataclasses import replace

import pytest

from service.callbacks.cache.webhook_secrets import WebhookSecretCache
from service.callbacks.domain.callback import RawCallback
from service.callbacks.domain.verification import keyed_hash
from service.callbacks.steps import webhook_secrets
from service.callbacks.steps.verify import verify
from service.delivery.cache.send_settings import SendSettingsCache
from service.delivery.store.send_settings import EncryptedKey, SendSettingsRow
from service.kit.crypto.encryption import Encryptor, encryption_context
from service.resources import Resources
from service.settings import Settings
from service.subscribers.domain.subscriber import Format, SubscriberType

KEY = b"k" * 32
BODY = b'{"id":"1","status":"processing"}'
ENCRYPTOR = Encryptor(KEY, bytes)  # nonces of zeros: what it encrypts is the same each time

SECRET = bytes.fromhex(
    "010000000000000000000000000304460e99c89be622ded9de7abc4115d1069f1ce0ce9b1d596837"
)
SEED = bytes.fromhex(
    "0100000000000000000000000003084404d0c99ae6289bcb461bb771725063774e55955a5c3fdc47ba92"
)
HEADERS = bytes.fromhex(
    "010000000000000000000000000b4f594d84c392a727cf821940bbc6028a6a2e4c3cf6e3"
    "b455700ffff5d1e442560a1a"
)
CREDENTIALS = bytes.fromhex(
    "010000000000000000000000000b4f541395d492a724de821940aac51a8a273d7374d964"
    "3eeb7c68efdd9d2fb4f5bc2f68aa14142dd74ab101dee3f4e2377060cadcac17aee9deb6"
    "e67d"
)


@pytest.mark.parametrize(
    ("what", "label"),
    [
        ("", "sbr_1"),
        ("seed", "sbr_1 seed"),
        ("headers", "sbr_1 headers"),
        ("credentials", "sbr_1 credentials"),
    ],
)
def test_what_is_encrypted_for_a_subscriber_is_bound_to_its_id_and_what_it_is(
    what: str, label: str
) -> None:
    assert encryption_context("sbr_1", what) == label


async def test_what_was_encrypted_for_a_subscriber_still_opens(settings: Settings) -> None:
    row = SendSettingsRow(
        id="sbr_1",
        account_id="acc_1",
        type=SubscriberType.NATS,
        url="nats://example.com",
        channel="events",
        credentials=CREDENTIALS,
        headers=HEADERS,
        timeout=None,
        schedule=None,
        format=Format.STANDARD,
        signatures=("v1", "v1a"),
        version=1,
        owner_id="sbr_1",
        keys=(EncryptedKey(SECRET, SEED, None),),
    )
    opened = SendSettingsCache(settings, ENCRYPTOR).decrypt(row)
    assert (opened.username, opened.password) == ("someone", "pass word")
    assert opened.headers == {"x-tenant": "blue"}
    assert (opened.keys[0].secret, opened.keys[0].seed) == (b"signing key", b"seed of a key")


def derived(label: bytes) -> bytes:
    return hmac.digest(KEY, label, hashlib.sha256)


async def test_keys_are_derived_under_labels_that_never_change(
    settings: Settings, resources: Resources
) -> None:
    cache = WebhookSecretCache(settings, ENCRYPTOR)
    assert keyed_hash(cache.hash_keys[0], "a token") == (
        hmac.digest(derived(b"kept secrets"), b"a token", hashlib.sha256).hex()
    )
    expected = hmac.digest(derived(b"fingerprints of secrets"), b"a key", hashlib.sha256).hex()
    found = webhook_secrets.fingerprint(replace(resources, encryptor=ENCRYPTOR), b"a key")
    assert found
    assert expected.startswith(found)
    ours = hmac.digest(settings.secret_key, b"callback addresses", hashlib.sha256)
    assert resources.callback_token_key == ours


async def test_callbacks_without_a_message_id_are_known_again_by_what_they_hold(
    settings: Settings, resources: Resources
) -> None:
    """Copies of what was stored before would be taken for new ones under another key."""
    raw = RawCallback("provider", None, {"user-agent": "curl"}, BODY, resources.clock())
    refused = verify(resources, raw)
    assert refused.dedup_key == (
        "rejected:sha256:557746b2e411b8bdf1791dc1da7312f8cbb1de20057899406622d78d02bef556"
    )
    unsigned = WebhookSecretCache(replace(settings, webhook_secrets=()), ENCRYPTOR)
    hint = verify(replace(resources, webhook_secrets=unsigned), raw)
    assert hint.dedup_key == (
        "sha256:9043a014438f5a16d482e04d59751d25083fe9fade34e1a6b7ad5bb8d262b18a"
    )
