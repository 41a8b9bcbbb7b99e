"""A client with a key pair signs in with access tokens, on every path."""

import httpx
import pytest
from structlog.typing import EventDict

from service.accounts.domain.scopes import DEFAULT_SCOPES
from service.accounts.steps import api_keys, authenticate
from service.accounts.steps.api_keys import KeyPair
from service.accounts.store.authentication import Caller
from service.operations.steps import reencrypt
from service.provider.remote.client import ProviderClient
from service.provider.remote.credentials import ProviderKeyPair
from service.provider.remote.outcomes import TaskAccepted, TaskFound
from service.settings import read_settings
from service.wiring import open_resources
from tests.conftest import SECRET_KEY
from tests.support.access_tokens import access_token, jwt
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements, fetch
from tests.support.provider_api_client import ApiConfig, provider_api_client
from tests.support.request_bodies import request_body
from tests.support.simulator import PATH
from tests.test_command_line import run

NEXT_KEY = "dGhlIG5leHQgc2VjcmV0IGtleSwgb2YgMzIgYnl0ZXM="
OURS = "/v1/subjects"


@pytest.fixture
def environ(environ: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    return environ | getattr(request, "param", {})


@pytest.fixture
async def pair(api: Api) -> KeyPair:
    return await api_keys.create_pair(api.resources, "acme", DEFAULT_SCOPES)


async def get_with_token(api: Api, path: str, sent: str) -> httpx.Response:
    return await api.http.get(path, headers={"authorization": f"Bearer {sent}"})


async def codes(api: Api, sent: str) -> tuple[int, str, int, int]:
    """Statuses and codes on a path of ours and on the provider's; 0 for a success."""
    ours, theirs = await get_with_token(api, OURS, sent), await get_with_token(api, PATH, sent)
    return ours.status_code, ours.json().get("code", ""), theirs.status_code, theirs.json()["code"]


GOOD = (200, "", 200, 0)
REFUSED = (401, "unauthorized", 401, 1002)


def of(pair: KeyPair, clock: Clock, **claims: object) -> str:
    return access_token(pair.access_key, pair.secret_key, clock().timestamp(), **claims)


async def test_the_command_prints_both_alone_on_the_last_two_lines_and_they_open_the_account(
    api: Api, environ: dict[str, str], clock: Clock
) -> None:
    await api.create()
    given = ("--account", "acme", "--pair", "--scopes", "subjects:read")
    done = await run(environ, "keys", "create", *given)
    assert (done.returncode, done.stderr) == (0, "")
    first, *both = done.stdout.splitlines()
    made = KeyPair(*both)
    assert made.access_key.startswith("csa_")
    assert made.secret_key.startswith("css_")
    assert done.stdout.count(made.access_key) == done.stdout.count(made.secret_key) == 1
    assert len((await get_with_token(api, OURS, of(made, clock))).json()["data"]) == 1
    assert (await get_with_token(api, "/v1/subscribers", of(made, clock))).status_code == 403
    listed = (await run(environ, "keys", "list")).stdout
    assert made.access_key[:12] in listed
    assert f"\n{first.removeprefix('id  ')} " in f"\n{listed}"
    assert made.secret_key not in listed


async def test_a_client_that_knows_the_pair_and_the_base_url_creates_and_follows_a_subject(
    api: Api, pair: KeyPair, clock: Clock
) -> None:
    there = ApiConfig(str(api.http.base_url), of(pair, clock), "")
    async with provider_api_client(there) as caller:
        made = await caller.create(request_body(external_task_id="mine-1"))
        await api.work()
        await api.wait_until_finished(made["task_id"])
        assert (await caller.wait_until_finished("mine-1"))["task_status"] == "succeed"
        assert [task["task_id"] for task in await caller.page(pageNum=1)] == [made["task_id"]]


async def test_our_own_client_of_the_provider_can_be_such_a_client(api: Api, pair: KeyPair) -> None:
    credentials = ProviderKeyPair(pair.access_key, pair.secret_key)
    remote = ProviderClient(str(api.http.base_url), credentials, 30.0, api.resources.clock)
    try:
        assert isinstance(await remote.create(request_body(external_task_id="sub_1")), TaskAccepted)
        assert isinstance(await remote.look_up("sub_1"), TaskFound)
    finally:
        await remote.aclose()


async def test_a_token_is_good_in_its_time_on_every_path(
    api: Api, pair: KeyPair, clock: Clock
) -> None:
    now = clock().timestamp()
    assert await codes(api, of(pair, clock)) == GOOD
    assert await codes(api, of(pair, clock, nbf=now + 60)) == (401, "unauthorized", 401, 1003)
    assert await codes(api, of(pair, clock, exp=now - 1)) == (401, "unauthorized", 401, 1004)
    assert await codes(api, of(pair, clock, exp=now + 86_400)) == REFUSED
    token = of(pair, clock)
    clock.advance(1801)
    assert (await codes(api, token))[-1] == 1004


async def test_a_credential_that_proves_nothing_is_refused(
    api: Api, pair: KeyPair, clock: Clock
) -> None:
    other = await api_keys.create_pair(api.resources, "other", DEFAULT_SCOPES)
    key = await api_keys.create(api.resources, "acme", DEFAULT_SCOPES)
    now, claims = clock().timestamp(), {"iss": pair.access_key, "exp": clock().timestamp() + 60}
    for sent in (
        pair.access_key,
        pair.secret_key,
        f"{pair.access_key}.{pair.secret_key}",
        access_token(pair.access_key, other.secret_key, now),
        access_token(other.access_key, pair.secret_key, now),
        access_token("csa_nobody", pair.secret_key, now),
        access_token("csa_nobody", "", now),
        access_token(key, "", now),
        access_token(key, key, now),
        access_token(pair.access_key, "", now),
        access_token(pair.access_key, pair.access_key, now),
        jwt(pair.secret_key, claims, {"alg": "none"}),
        jwt(pair.secret_key, claims, {"alg": "HS512"}, "sha512"),
        "a.b.c",
        "..",
        "é.é.é".encode().decode("latin-1"),
        of(pair, clock) + "A" * 5000,
    ):
        for path in (OURS, PATH):
            headers = {b"authorization": b"Bearer " + sent.encode("latin-1")}
            answer = await api.http.get(path, headers=headers)
            assert answer.status_code == 401, sent
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["code"] in {"unauthorized", 1002}


async def test_an_unknown_key_cannot_be_told_from_a_wrong_signature(
    api: Api, pair: KeyPair, clock: Clock
) -> None:
    await get_with_token(api, OURS, of(pair, clock, exp=0))  # a new connection asks for more
    observed = []
    for access_key in (pair.access_key, "csa_nobody"):
        wrong = access_token(access_key, "css_wrong", clock().timestamp())
        with executed_statements() as statements:
            answer = await get_with_token(api, OURS, wrong)
        said = answer.text.replace(answer.headers["x-request-id"], "")
        observed.append((answer.status_code, said, statements))
    assert observed[0] == observed[1]
    (row,) = await fetch(
        api.resources, "SELECT last_used_at FROM api_keys WHERE secret IS NOT NULL"
    )
    assert row["last_used_at"] is None


async def test_a_revoked_or_expired_key_pair_is_refused_at_once(
    api: Api, clock: Clock, environ: dict[str, str]
) -> None:
    pair, short = [
        await api_keys.create_pair(api.resources, "acme", DEFAULT_SCOPES, life)
        for life in (None, "10m")
    ]
    assert [await codes(api, of(keys, clock)) for keys in (pair, short)] == [GOOD, GOOD]
    (row,) = [
        listed.key
        for listed in await api_keys.list_keys(api.resources)
        if pair.access_key.startswith(listed.key.prefix)
    ]
    assert row.last_used_at is not None
    assert (await run(environ, "keys", "revoke", row.id)).returncode == 0
    assert await codes(api, of(pair, clock)) == REFUSED
    assert await codes(api, of(short, clock)) == GOOD
    clock.advance(600)
    assert await codes(api, of(short, clock)) == REFUSED


async def test_the_secret_key_is_stored_encrypted_and_the_access_key_as_its_hash(
    api: Api, pair: KeyPair, clock: Clock, logged: list[EventDict]
) -> None:
    await codes(api, of(pair, clock))
    (row,) = await fetch(api.resources, "SELECT * FROM api_keys WHERE secret IS NOT NULL")
    stored = str(row)
    assert pair.access_key not in stored
    assert pair.secret_key not in stored
    assert pair.secret_key.encode() not in row["secret"]
    assert pair.secret_key not in repr(pair)
    assert pair.secret_key not in str(logged)


@pytest.mark.parametrize("environ", [{"CALLSHEET_REQUESTS_PER_SECOND": "0.1"}], indirect=True)
async def test_only_requests_with_a_valid_signature_count_against_the_rate_limit(
    api: Api, pair: KeyPair, clock: Clock
) -> None:
    for _ in range(3):
        wrong = access_token(pair.access_key, "css_wrong", clock().timestamp())
        assert (await get_with_token(api, OURS, wrong)).status_code == 401
    assert (await get_with_token(api, OURS, of(pair, clock))).status_code == 200
    assert (await get_with_token(api, OURS, of(pair, clock))).status_code == 429


async def test_credentials_in_one_batch_are_verified_one_by_one(
    api: Api, pair: KeyPair, clock: Clock
) -> None:
    key = await api_keys.create(api.resources, "other", DEFAULT_SCOPES)
    now = clock().timestamp()
    given = [
        authenticate.parse_credential(sent)
        for sent in (
            of(pair, clock),
            key,
            access_token(pair.access_key, "css_wrong", now),
            pair.access_key,
            of(pair, clock, exp=now - 1),
            of(pair, clock),
        )
    ]
    found = await authenticate.authenticate_batch(api.resources, given)
    names = [caller.account_name if isinstance(caller, Caller) else None for caller in found]
    assert names == ["acme", "other", None, None, None, "acme"]


async def test_a_key_pair_survives_a_rotation_of_the_encryption_key(
    pair: KeyPair, environ: dict[str, str], logged: list[EventDict]
) -> None:
    changed = environ | {"CALLSHEET_SECRET_KEY": NEXT_KEY}
    changing = changed | {"CALLSHEET_PREVIOUS_SECRET_KEYS": SECRET_KEY}

    async def opens(settings: dict[str, str]) -> bool:
        async with open_resources(read_settings(settings)) as resources:
            now = resources.clock().timestamp()
            sent = access_token(pair.access_key, pair.secret_key, now)
            (found,) = await authenticate.authenticate_batch(
                resources, [authenticate.parse_credential(sent)]
            )
            return isinstance(found, Caller)

    assert await opens(changing)
    assert not await opens(changed)
    assert [line["action"] for line in logged if line.get("key")] == ["secret_unreadable"]
    async with open_resources(read_settings(changing)) as resources:
        done = await reencrypt.reencrypt(resources)
    assert (done.reencrypted, done.undecryptable) == (1, [])
    assert await opens(changed)
