"""`callsheet erase` and `keys revoke --from`: many at once, and again after a restore."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
from structlog.typing import EventDict

from service import cli_erasure
from service.accounts.steps import api_keys
from service.accounts.steps.action_log import command_line
from service.erasure.steps import erase as erase_steps
from service.erasure.steps.erase_many import erase_matching
from service.erasure.store import matching
from service.kit.errors import Invalid
from service.resources import Resources
from service.subjects.domain.lifecycle import State
from service.subjects.domain.work import Work
from tests.support.api import Api
from tests.support.database import fetch
from tests.support.provider_deletions import deletes, made_subject
from tests.support.simulator import SimulatorClient
from tests.support.subjects import add_committed_subject, subject_in_state
from tests.test_command_line import run

CHOICE = Namespace(account=None, tag=None, file=None, dry_run=None, provider=None)


async def erase(resources: Resources, **given: object) -> int:
    return await cli_erasure.erase(resources, Namespace(**(vars(CHOICE) | given)))


async def erased_ids(resources: Resources) -> set[str]:
    found = await fetch(resources, "SELECT id FROM subjects WHERE erased_at IS NOT NULL")
    return {row["id"] for row in found}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"file": "x.log", "account": "acme"},
        {"file": "x.log", "tag": "o_101"},
        {"file": "x.log", "dry_run": True},
        {"account": "nobody"},
        {"tag": "nothing"},
        {"file": "/none.log"},
    ],
)
async def test_what_is_no_choice_is_refused(api: Api, given: dict[str, object]) -> None:
    subject_id = await subject_in_state(api, State.CANCELED)
    with pytest.raises(Invalid):
        await erase(api.resources, **given)
    assert subject_id not in await erased_ids(api.resources)


async def test_finished_ones_of_an_account_are_erased_and_the_others_listed(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    finished = {await subject_in_state(api, state) for state in (State.CANCELED, State.FAILED)}
    queued = await subject_in_state(api, State.QUEUED)
    await api_keys.create(api.resources, "other", ["subjects:read"])
    (other,) = await fetch(api.resources, "SELECT id FROM accounts WHERE name = 'other'")
    await add_committed_subject(api.resources, other["id"])
    capsys.readouterr()
    assert await erase(api.resources, account="acme", dry_run=True) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{queued} queued",
        "2 would be erased, 0 erased before, 1 not finished",
    ]
    assert await erased_ids(api.resources) == set()
    for line in ("2 erased, 0 erased before", "0 erased, 2 erased before"):
        assert await erase(api.resources, account="acme") == 0
        out = [text for text in capsys.readouterr().out.splitlines() if "action=" not in text]
        assert out == [f"{queued} queued", f"{line}, 1 not finished"]
        assert await erased_ids(api.resources) == finished
    assert await api.violations() == []
    actions = await fetch(api.resources, "SELECT object_id FROM actions")
    assert {row["object_id"] for row in actions} == finished


@pytest.mark.parametrize("account", ["acme", None])
async def test_those_of_a_tag_are_erased_page_by_page(
    api: Api, account: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagged = [(await api.create(tag_list=[{"tag_id": "o_103"}]))["id"] for _ in range(3)]
    others = [(await api.create())["id"] for _ in range(2)]
    for subject_id in (*tagged, *others):
        await api.http.post(f"/v1/subjects/{subject_id}/cancel")
    monkeypatch.setattr(matching, "SCANNED", 2)
    assert await erase(api.resources, account=account, tag="o_103") == 0
    assert await erased_ids(api.resources) == set(tagged)


async def test_three_thousand_are_erased_in_small_transactions(api: Api) -> None:
    """A transaction has a subject's event in it for each subject."""
    await fetch(
        api.resources,
        """
        INSERT INTO subjects (id, account_id, fingerprint, document, tags, state, version,
            available_at, deadline, created_at, updated_at, finished_at)
        SELECT 'sub_' || lpad(CAST(n AS text), 26, '0'), (SELECT id FROM accounts), 'f',
            '{"reference_type": "image_refer", "element_name": "Ada"}', '{}', 'canceled', 2,
            $1, $1, $1, $1, $1
        FROM generate_series(1, 3000) n
        """,
        api.resources.clock(),
    )
    progress = [
        one.erased
        async for one in erase_matching(
            api.resources, account="acme", tag=None, actor=command_line()
        )
    ]
    assert sum(progress) == 3_000
    (largest,) = await fetch(
        api.resources, "SELECT max(n) FROM (SELECT count(*) n FROM events GROUP BY xid) e"
    )
    assert largest["max"] == erase_steps.BATCH
    (left,) = await fetch(
        api.resources,
        "SELECT count(*) FROM subjects WHERE document ? 'element_name' OR erased_at IS NULL",
    )
    assert left["count"] == 0


async def test_erasures_and_revocations_are_done_again_by_their_log_lines(
    api: Api,
    logged: list[EventDict],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    finished = await subject_in_state(api, State.CANCELED)
    queued = await subject_in_state(api, State.QUEUED)
    key_id = api.resources.new_id("key")
    await api_keys.create(api.resources, "acme", ["subjects:read"], key_id=key_id)
    await erase(api.resources, account="acme")
    await api_keys.revoke(api.resources, key_id)
    lines = [{name: str(value) for name, value in line.items()} for line in logged]
    lines += [{"action": "subject_erased", "subject": id_} for id_ in (queued, "sub_none")]
    lines += [{"action": "key_revoked", "key": "key_none"}]
    file = tmp_path / "log.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    # As a backup from before has them.
    await fetch(api.resources, "UPDATE subjects SET erased_at = NULL")
    await fetch(api.resources, "UPDATE subjects SET version = 2 WHERE state = 'canceled'")
    await fetch(api.resources, "DELETE FROM events WHERE type = 'subject.deleted'")
    await fetch(api.resources, "UPDATE api_keys SET revoked_at = NULL")
    capsys.readouterr()
    for erased, before in ((1, 0), (0, 1)):
        assert await erase(api.resources, file=str(file)) == 0
        out = [text for text in capsys.readouterr().out.splitlines() if "action=" not in text]
        counts = f"{erased} erased, {before} erased before, 1 not finished, 1 unknown"
        assert out == [f"{queued} queued", counts]
        assert await cli_erasure.revoke_from(api.resources, str(file)) == 0
        (said,) = [text for text in capsys.readouterr().out.splitlines() if "action=" not in text]
        assert said == f"{erased} revoked, {before} revoked before, 1 unknown"
    assert await erased_ids(api.resources) == {finished}
    assert (await api.http.get("/v1/subjects")).status_code == 200


async def test_commands_log_each_erasure_and_revocation_as_json_on_standard_error(
    api: Api, environ: dict[str, str]
) -> None:
    subject_id = await subject_in_state(api, State.CANCELED)
    key_id = api.resources.new_id("key")
    await api_keys.create(api.resources, "acme", ["subjects:read"], key_id=key_id)
    refused = await run(environ, "erase")
    assert (refused.returncode, refused.stdout) == (2, "")
    erased = await run(environ, "erase", "--account", "acme")
    assert (erased.returncode, erased.stdout) == (0, "1 erased, 0 erased before, 0 not finished\n")
    revoked = await run(environ, "keys", "revoke", key_id)
    again = await run(environ, "erase", "--from", "-", given=erased.stderr)
    assert again.stdout == "0 erased, 1 erased before, 0 not finished, 0 unknown\n"
    again = await run(environ, "keys", "revoke", "--from", "-", given=revoked.stderr)
    assert again.stdout == "0 revoked, 1 revoked before, 0 unknown\n"
    (line,) = map(json.loads, erased.stderr.splitlines())
    assert (line["action"], line["subject"]) == ("subject_erased", subject_id)
    (line,) = map(json.loads, revoked.stderr.splitlines())
    assert (line["action"], line["key"]) == ("key_revoked", key_id)
    assert "csk_" not in revoked.stderr


async def test_with_the_provider_each_waits_until_that_has_deleted_it(
    api: Api, provider: SimulatorClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before, made, named = [await made_subject(api, name) for name in "abc"]
    canceled = await subject_in_state(api, State.CANCELED)
    queued = await subject_in_state(api, State.QUEUED)
    await api.http.delete(f"/v1/subjects/{before}")
    lines = tmp_path / "lines.log"
    lines.write_text(json.dumps({"action": "subject_erased", "subject": named}))
    await erase(api.resources, file=str(lines), provider=True)
    await erase(api.resources, account="acme", provider=True, dry_run=True)
    assert await erase(api.resources, account="acme", provider=True) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if " action=" not in line] == [
        "0 erased, 0 erased before, 0 not finished, 0 unknown, 1 pending at the provider",
        f"{queued} queued",
        "4 would be erased, 0 erased before, 1 not finished",
        f"{queued} queued",
        "1 erased, 0 erased before, 1 not finished, 3 pending at the provider",
    ]
    assert await erased_ids(api.resources) == {before, canceled}
    for _ in range(3):
        await api.work(Work.ERASE)
    assert await erased_ids(api.resources) == {before, canceled, made, named}
    assert await deletes(provider) == ["done"] * 3
