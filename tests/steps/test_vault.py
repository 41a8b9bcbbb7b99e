"""Secrets at rest open only under the key, and for the owner, that they were sealed for."""

import secrets

import pytest

from service.steps.vault import Sealed, Vault

SECRET = b"a subscriber's signing key"
VAULT = Vault(b"k" * 32, secrets.token_bytes)


def test_what_is_sealed_opens_and_does_not_show_what_it_holds() -> None:
    sealed = VAULT.seal(SECRET, "sbr_1")
    assert VAULT.open(sealed, "sbr_1") == SECRET
    assert SECRET not in sealed
    assert sealed != VAULT.seal(SECRET, "sbr_1"), "each time under another nonce"


@pytest.mark.parametrize(
    ("vault", "context"), [(VAULT, "sbr_2"), (Vault(b"j" * 32, secrets.token_bytes), "sbr_1")]
)
def test_it_opens_for_no_other_owner_and_under_no_other_key(vault: Vault, context: str) -> None:
    with pytest.raises(Sealed):
        vault.open(VAULT.seal(SECRET, "sbr_1"), context)


@pytest.mark.parametrize("place", [1, 12, 13, -1])
def test_a_changed_byte_is_noticed(place: int) -> None:
    sealed = bytearray(VAULT.seal(SECRET, "sbr_1"))
    sealed[place] ^= 1
    with pytest.raises(Sealed):
        VAULT.open(bytes(sealed), "sbr_1")


def test_derived_keys_differ_by_use_and_hide_the_key() -> None:
    derived = {VAULT.derive(use) for use in ("a", "b")}
    assert {len(key) for key in derived} == {32}
    assert len(derived) == 2
    assert VAULT.derive("a") == VAULT.derive("a")
    assert repr(VAULT.secret_key) not in repr(VAULT)
