"""Playing a story back: a subject of its kind is made to go through what the story's went through,
against a simulator that does what the provider did, and the moves of the two are compared."""

import asyncio
import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import msgspec

from service.local.errors import LocalError
from service.local.example import picture
from service.story.domain.moves import Move, compared, differences
from service.story.domain.script import Script, script_of
from service.story.domain.story_file import StoryFile
from service.subjects.domain.lifecycle import Signal
from service.subjects.domain.reference_types import IMAGE_LIST, VIDEO, VIDEO_LIST
from service.subjects.domain.signal_source import SignalSource

LOOK_INTERVAL: Final = 0.1  # seconds
LEAST_TIME: Final = 30.0  # seconds that a playback may take
TIME_OF_STEP: Final = 5.0  # seconds more for each step
STOPPED: Final = range(1000, 1200)  # codes that stop submission: then a minute passes (rule P46)
TIME_OF_STOP: Final = 70.0  # seconds more for each of them
DEADLINE_MARGIN: Final = 3.0  # seconds from the last step to the deadline of a story that has one


def settings(story: StoryFile) -> dict[str, str]:
    """The settings of a service that plays this story, by their names without prefix: what took
    minutes takes seconds."""
    script = script_of(story)
    chosen = {
        "POLL_AFTER": "0.5",
        "NOT_FOUND_GRACE": "1",
        "SWEEP_INTERVAL": "0.2",
        "TASK_DEADLINE": f"{_deadline(script):g}",
    }
    # Where the provider's callbacks were not signed, they were hints.
    return chosen if script.signed else chosen | {"WEBHOOK_SECRETS": ""}


def _deadline(script: Script) -> float:
    if not script.exceeds_deadline:
        return 86_400.0
    slow = sum(1.5 for step in script.steps if step.kind != "callback")
    return DEADLINE_MARGIN + slow + sum(step.wait for step in script.steps)


@dataclass(slots=True)
class Playback:
    """One playback. `caller` has a key with the scopes of callers and `operator`."""

    story: StoryFile  # what is played
    caller: httpx.AsyncClient  # of the service
    simulator: httpx.AsyncClient  # of its provider
    name: str = "As in the story"  # of the subject: another for each that is played at once
    made: list[Move] = field(default_factory=list)  # the moves so far
    _hold: str | None = None  # the id of the hold on submissions; None: there is none

    async def run(self) -> list[str]:
        """Play it to its end; the lines of a diff of the moves, none if they are the same."""
        script = script_of(self.story)
        await self._post_script(script)
        try:
            if script.hold_after == 0:
                await self._hold_submissions()
            body = self._request()
            subject_id = (await _sent(self.caller, "POST", "/v1/subjects", body))["id"]
            await self._follow(script, subject_id)
        finally:
            if self._hold is not None:
                await self.caller.delete(f"/v1/holds/{self._hold}")
        return differences(script.moves, self.made)

    async def _post_script(self, script: Script) -> None:
        steps = msgspec.to_builtins(script.steps)
        body = {"element_name": self.name, "steps": steps}
        await _sent(self.simulator, "POST", "/_simulator/scripts", body)

    async def _follow(self, script: Script, subject_id: str) -> None:
        """Watch the subject until its moves are those of the story, it has ended, or its time is
        over; and do what callers and operators did."""
        expected, until = compared(script.moves), time.monotonic() + _time_limit(script)
        while time.monotonic() < until:
            told = await _sent(self.caller, "GET", f"/v1/subjects/{subject_id}/story")
            self.made = msgspec.convert(told["moves"], list[Move])
            if compared(self.made) == expected or told["subject"]["finished_at"]:
                return
            if script.hold_after and self._hold is None:
                await self._hold_once(subject_id, script.hold_after)
            if script.cancels and compared(self.made) == expected[:-1]:
                await self.caller.post(f"/v1/subjects/{subject_id}/cancel")
            await asyncio.sleep(LOOK_INTERVAL)

    async def _hold_once(self, subject_id: str, creates: int) -> None:
        """Hold submissions once the simulator has answered so many creates of the subject."""
        for script in await _sent(self.simulator, "GET", "/_simulator/scripts"):
            if script["external_task_id"] == subject_id and script["creates"] >= creates:
                await self._hold_submissions()

    async def _hold_submissions(self) -> None:
        body = {"what": "submissions", "reason": "a story is played back"}
        self._hold = str((await _sent(self.caller, "POST", "/v1/holds", body))["id"])

    def _request(self) -> dict[str, Any]:
        """A request of the story's kind, with contents of our own; its media are bad if they were
        refused in the story."""
        bad = any(
            signal.source == SignalSource.MEDIA_CHECK and signal.signal is Signal.REFUSED
            for signal in self.story.signals
        )
        media = f"{self.simulator.base_url}/_simulator/media/".replace("//_", "/_")
        by_address = bad or any(medium.given_by == "address" for medium in self.story.subject.media)
        body: dict[str, Any] = {
            "element_name": self.name,
            "element_description": "made to play a story back",
            "reference_type": self.story.subject.reference_type or "image_refer",
        }
        if body["reference_type"] == VIDEO:
            url = media + ("bad" if bad else "film.mp4")
            return body | {VIDEO_LIST: {"refer_videos": [{"video_url": url}]}}
        if by_address:
            first, second = media + ("bad" if bad else "red.png"), f"{media}darkred.png"
        else:
            first, second = (
                base64.b64encode(picture(colour)).decode() for colour in ("red", "darkred")
            )
        return body | {
            IMAGE_LIST: {"frontal_image": first, "refer_images": [{"image_url": second}]}
        }


def _time_limit(script: Script) -> float:
    stops = sum(step.answer == "refusal" and step.code in STOPPED for step in script.steps)
    waits = _deadline(script) if script.exceeds_deadline else 0.0
    return LEAST_TIME + waits + len(script.steps) * TIME_OF_STEP + stops * TIME_OF_STOP


async def _sent(
    client: httpx.AsyncClient, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:  # noqa: ANN401 - JSON
    answer = await client.request(method, path, json=body)
    if not answer.is_success:
        raise LocalError(f"{method} {path} was answered {answer.status_code}")
    return answer.json()
