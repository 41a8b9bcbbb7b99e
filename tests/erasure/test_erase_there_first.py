"""DELETE /v1/subjects/{id}?provider=true: the provider deletes first, then it is erased here."""

import asyncio

import pytest

from service.erasure.domain.erasure import ErasureState
from service.erasure.steps import delete_at_provider
from service.subjects.domain.lifecycle import State
from service.subjects.domain.work import Work
from service.subjects.store import subjects
from tests.support.api import Api
from tests.support.clock import Clock
from tests.support.database import executed_statements, fetch, wait_until_blocked
from tests.support.erasures import all_rows, erase
from tests.support.provider_deletions import ask, deletes, erasure_of, made_subject
from tests.support.simulator import SimulatorClient
from tests.support.subjects import subject_in_state

PROVIDER = {"provider": "true"}
NAME = "Zaphod"  # what a subject is called, which is nowhere once it is erased


async def test_nothing_is_erased_here_before_the_provider_has_deleted(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api, NAME)
    await provider.admin("faults", {"on": "delete", "code": 5001})
    asked = await api.http.delete(f"/v1/subjects/{subject_id}", params=PROVIDER)
    assert asked.status_code == 202
    assert (asked.json()["element_name"], asked.json()["erasure"]["state"]) == (NAME, "pending")
    await api.work(Work.ERASE)
    waiting = await api.read(subject_id)
    assert (waiting["element_name"], "erased_at" in waiting) == (NAME, False)
    assert waiting["erasure"]["error"]["provider_code"] == 5001
    assert "deleted" not in await api.event_types(subject_id)
    clock.advance(5)
    await api.work(Work.ERASE)
    erased = await api.read(subject_id)
    assert (erased["element_name"], erased["erasure"]["state"]) == (None, "done")
    assert erased["erased_at"]
    assert erased["version"] == waiting["version"] + 1
    assert NAME not in await all_rows(api.resources)
    assert await deletes(provider) == ["refused", "done"]
    assert await api.violations() == []


async def test_it_may_be_repeated_and_is_200_once_it_is_done(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await made_subject(api)
    path = f"/v1/subjects/{subject_id}"
    answers = [await api.http.delete(path, params=PROVIDER) for _ in range(2)]
    await api.work(Work.ERASE)
    answers += [await api.http.delete(path, params=PROVIDER) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202, 200, 200]
    assert [answer.json()["erasure"]["state"] for answer in answers] == [
        *("pending", "pending", "done", "done"),
    ]
    assert answers[2].json() == answers[3].json()
    assert await deletes(provider) == ["done"]


@pytest.mark.parametrize("state", [State.QUEUED, State.SUBMITTED])
async def test_one_that_is_not_finished_is_a_conflict(api: Api, state: State) -> None:
    subject_id = await subject_in_state(api, state)
    answer = await api.http.delete(f"/v1/subjects/{subject_id}", params=PROVIDER)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_finished")
    assert answer.json()["state"] == state
    assert await fetch(api.resources, "SELECT * FROM erasures") == []


async def test_an_unknown_one_is_not_found_and_no_other_word_is_taken(api: Api) -> None:
    unknown = "/v1/subjects/sub_00000000000000000000000000"
    assert (await api.http.delete(unknown, params=PROVIDER)).status_code == 404
    for params in ({"provider": "yes"}, {"provider": ""}, {"provider": "True"}, {"force": "true"}):
        answer = await api.http.delete(unknown, params=params)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == f"/{next(iter(params))}"


async def test_one_that_was_never_sent_is_erased_at_once(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await subject_in_state(api, State.CANCELED)
    answer = await api.http.delete(f"/v1/subjects/{subject_id}", params=PROVIDER)
    assert (answer.status_code, answer.json()["erasure"]["state"]) == (200, "done")
    assert answer.json()["erased_at"]
    assert (await provider.ledger())["deletes"] == []


async def test_without_the_provider_it_is_erased_here_and_the_deletion_goes_on(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await made_subject(api, NAME)
    await ask(api, subject_id)
    here = await erase(api, subject_id)
    assert (here.status_code, here.json()["erasure"]["state"]) == (200, "pending")
    assert NAME not in await all_rows(api.resources)
    version = here.json()["version"]
    await api.work(Work.ERASE)
    after = await api.read(subject_id)
    assert (after["version"], after["erasure"]["state"]) == (version, "done")
    assert after["erased_at"] == here.json()["erased_at"]
    assert await deletes(provider) == ["done"]


async def test_one_that_was_erased_here_can_still_be_deleted_at_the_provider(
    api: Api, provider: SimulatorClient
) -> None:
    subject_id = await made_subject(api)
    here = (await erase(api, subject_id)).json()
    assert here["erasure"]["state"] == "not_requested"
    asked = await api.http.delete(f"/v1/subjects/{subject_id}", params=PROVIDER)
    assert (asked.status_code, asked.json()["erased_at"]) == (202, here["erased_at"])
    await api.work(Work.ERASE)
    after = await api.read(subject_id)
    assert (after["version"], after["erasure"]["state"]) == (here["version"], "done")
    assert await deletes(provider) == ["done"]


async def test_an_erasure_here_in_the_middle_of_the_deletion_tells_of_it_once(
    api: Api, provider: SimulatorClient
) -> None:
    """The two wait for each other's lock on the subject, in either order."""
    for name in "abcd":
        subject_id = await made_subject(api, name)
        await ask(api, subject_id)
        [claimed] = await delete_at_provider.claim(api.resources, 1)
        both = [delete_at_provider.delete(api.resources, claimed), erase(api, subject_id)]
        await asyncio.gather(*(both if name < "c" else reversed(both)))
        assert (await erasure_of(api, subject_id)).state is ErasureState.DONE
        told = await fetch(
            api.resources,
            "SELECT type FROM events WHERE subject_id = $1 AND type = 'subject.deleted'",
            subject_id,
        )
        assert len(told) == 1
    assert await deletes(provider) == ["done"] * 4


async def test_whoever_asks_again_waits_for_the_deletion_that_is_being_recorded(api: Api) -> None:
    subject_id = await made_subject(api)
    await ask(api, subject_id)
    async with api.resources.database.transaction() as tx:
        await subjects.lock(tx, subject_id)
        again = asyncio.create_task(ask(api, subject_id))
        await wait_until_blocked(api.resources)
    assert (await again).state is ErasureState.PENDING


async def test_get_shows_the_erasure_and_what_it_waits_for(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api)
    await provider.admin("faults", {"on": "delete", "code": 5001})
    await provider.admin("faults", {"on": "delete", "code": 1101})
    found = [(await ask(api, subject_id)).state.value]
    for seconds in (5, 60):
        await delete_at_provider.claim(api.resources, 1)
        found.append((await api.read(subject_id))["erasure"]["why"]["code"])
        clock.advance(api.resources.settings.lease)
        await api.work(Work.ERASE)
        found.append((await api.read(subject_id))["erasure"]["why"]["code"])
        clock.advance(seconds)
    assert found == ["pending", "held_lease", "retry_at", "held_lease", "provider_stopped"]
    await api.work(Work.ERASE)
    done = (await api.read(subject_id))["erasure"]
    assert (done["state"], done["error"], "why" in done) == ("done", None, False)


async def test_without_a_worker_the_erasure_says_so(api: Api) -> None:
    subject_id = await made_subject(api)
    await ask(api, subject_id)
    why = (await api.read(subject_id))["erasure"]["why"]
    assert (why["code"], why["mended_by"], why["until"]) == ("no_worker", "operator", None)


async def test_each_change_of_the_erasure_has_another_etag(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api)
    await provider.admin("faults", {"on": "delete", "code": 5001})
    await provider.admin("faults", {"on": "delete", "code": 1103})
    path, tags = f"/v1/subjects/{subject_id}", []
    for seconds in (0, 0, 5, 5, 5):
        answer = await api.http.get(path)
        tags.append(answer.headers["etag"])
        again = await api.http.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        clock.advance(seconds)
        if len(tags) in (1, 4):
            await ask(api, subject_id)
        else:
            await api.work(Work.ERASE)
    assert len(set(tags)) == len(tags)


async def test_a_list_shows_erasures_too(api: Api) -> None:
    asked, other = await made_subject(api, "a"), await made_subject(api, "b")
    await ask(api, asked)
    listed = (await api.http.get("/v1/subjects")).json()["data"]
    assert {subject["id"]: "erasure" in subject for subject in listed} == {
        asked: True,
        other: False,
    }


async def test_a_subject_whose_deletion_nobody_asked_for_costs_no_further_read(api: Api) -> None:
    subject_id = await made_subject(api)
    with executed_statements() as statements:
        await api.read(subject_id)
    assert not [statement for statement in statements if "erasures" in statement]


async def test_a_held_copy_deletes_nothing_at_the_provider_and_says_why(
    api: Api, provider: SimulatorClient, clock: Clock
) -> None:
    subject_id = await made_subject(api)
    clock.advance(5)
    await fetch(api.resources, "UPDATE installation SET held_reason = 'x', held_since = now()")
    await ask(api, subject_id)
    await api.work(Work.ERASE)
    assert await deletes(provider) == []
    assert (await api.read(subject_id))["erasure"]["why"]["code"] == "held_copy"
    await fetch(api.resources, "UPDATE installation SET held_reason = NULL, held_since = NULL")
    await api.work(Work.ERASE)
    assert await deletes(provider) == ["done"]
