"""Secrets at rest open only under the key, and for the owner, that they were encrypted for."""

import secrets

import pytest

from service.kit.crypto.encryption import DecryptionError, Encryptor

SECRET = b"a subscriber's signing key"
ENCRYPTOR = Encryptor(b"k" * 32, secrets.token_bytes)
NEXT = Encryptor(b"n" * 32, secrets.token_bytes, (b"x" * 32, b"k" * 32))


def test_what_is_sealed_opens_and_does_not_show_what_it_holds() -> None:
    encrypted = ENCRYPTOR.encrypt(SECRET, "sbr_1")
    assert ENCRYPTOR.decrypt(encrypted, "sbr_1") == SECRET
    assert SECRET not in encrypted
    assert encrypted != ENCRYPTOR.encrypt(SECRET, "sbr_1"), "each time under another nonce"


@pytest.mark.parametrize(
    ("encryptor", "context"),
    [(ENCRYPTOR, "sbr_2"), (Encryptor(b"j" * 32, secrets.token_bytes), "sbr_1")],
)
def test_it_opens_for_no_other_owner_and_under_no_other_key(
    encryptor: Encryptor, context: str
) -> None:
    with pytest.raises(DecryptionError):
        encryptor.decrypt(ENCRYPTOR.encrypt(SECRET, "sbr_1"), context)


@pytest.mark.parametrize("place", [0, 1, 12, 13, -1])
def test_a_changed_byte_is_noticed(place: int) -> None:
    encrypted = bytearray(ENCRYPTOR.encrypt(SECRET, "sbr_1"))
    encrypted[place] ^= 1
    with pytest.raises(DecryptionError):
        ENCRYPTOR.decrypt(bytes(encrypted), "sbr_1")


def test_derived_keys_differ_by_use_and_hide_the_key() -> None:
    derived = {ENCRYPTOR.derive(use) for use in ("a", "b")}
    assert {len(key) for key in derived} == {32}
    assert len(derived) == 2
    assert ENCRYPTOR.derive("a") == ENCRYPTOR.derive("a")
    assert repr(ENCRYPTOR.secret_key) not in repr(ENCRYPTOR)


@pytest.mark.parametrize("length", [0, 1, 5, 13, 20, 28])
def test_what_is_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(DecryptionError):
        NEXT.decrypt(ENCRYPTOR.encrypt(SECRET, "sbr_1")[:length], "sbr_1")


def test_what_an_earlier_key_sealed_opens_and_is_sealed_anew_under_the_present_one() -> None:
    old = ENCRYPTOR.encrypt(SECRET, "sbr_1")
    assert NEXT.decrypt(old, "sbr_1") == SECRET
    new = NEXT.reencrypt(old, "sbr_1")
    assert new is not None
    assert NEXT.decrypt(new, "sbr_1") == SECRET
    assert NEXT.reencrypt(new, "sbr_1") is None
    with pytest.raises(DecryptionError):
        ENCRYPTOR.decrypt(new, "sbr_1")
    with pytest.raises(DecryptionError):
        NEXT.reencrypt(old, "sbr_2")


def test_a_process_that_knows_the_next_key_opens_what_is_sealed_under_it() -> None:
    """As while processes are restarted one by one, in the same form as ever."""
    rotating = Encryptor(b"k" * 32, secrets.token_bytes, (b"n" * 32,))
    assert rotating.decrypt(NEXT.encrypt(SECRET, "sbr_1"), "sbr_1") == SECRET
    assert NEXT.decrypt(rotating.encrypt(SECRET, "sbr_1"), "sbr_1") == SECRET
    assert len(NEXT.encrypt(SECRET, "sbr_1")) == len(ENCRYPTOR.encrypt(SECRET, "sbr_1"))


def test_what_earlier_keys_derived_is_known_after_that_of_the_present_one() -> None:
    assert NEXT.derive_all("a") == (
        NEXT.derive("a"),
        Encryptor(b"x" * 32, secrets.token_bytes).derive("a"),
        ENCRYPTOR.derive("a"),
    )
    assert repr(b"x" * 32) not in repr(NEXT)
