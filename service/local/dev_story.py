"""`callsheet dev --story FILE`: plays a story back on a stack of its own, deleted at the end."""

import asyncio
import sys
from pathlib import Path

import httpx

from service.kit.errors import FieldError, Invalid
from service.local.errors import LocalError
from service.local.folders import temporary_folder
from service.local.playback import Playback, settings
from service.local.stack import Stack, stack
from service.story.domain.moves import compared
from service.story.domain.script import script_of
from service.story.domain.story_file import MAX_FILE, StoryFile, read_story

SCOPES = ("subjects:read", "subjects:write", "operator")
TIMEOUT = 30.0  # seconds of a call to the stack


def run(file: Path) -> int:
    """Play the story in the file: 0 if the moves are the same; 1, with the differences, if they are
    not, or if nothing can be started. Invalid if there is no story in the file."""
    story = _read(file)
    named = {f"CALLSHEET_{name}": text for name, text in settings(story).items()}
    script = script_of(story)
    _print(f"{len(script.steps)} steps of the provider are played; what took long is shortened")
    try:
        with (
            temporary_folder("callsheet-story-") as folder,
            stack(folder, named, durable=False, keep=False) as running,
        ):
            playback, diff = asyncio.run(_play(running, story))
    except (KeyboardInterrupt, SystemExit):
        _print("stopped")
        return 1
    except (LocalError, httpx.HTTPError) as error:
        sys.stderr.write(f"callsheet dev: {error}\n")
        return 1
    _print(*(diff or [*compared(playback.made), "the moves are the same"]))
    return 1 if diff else 0


def _read(file: Path) -> StoryFile:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_FILE + 1)
    except OSError as error:
        reason = f"the story cannot be read: {error.strerror}"
        raise Invalid([FieldError("", "story", reason)]) from None
    return read_story(raw)


async def _play(running: Stack, story: StoryFile) -> tuple[Playback, list[str]]:
    headers = {"authorization": f"Bearer {running.make_key('story', *SCOPES)}"}
    async with (
        httpx.AsyncClient(
            base_url=running.base_url, headers=headers, trust_env=False, timeout=TIMEOUT
        ) as caller,
        httpx.AsyncClient(
            base_url=running.simulator_url, trust_env=False, timeout=TIMEOUT
        ) as simulator,
    ):
        playback = Playback(story, caller, simulator)
        return playback, await playback.run()


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
