"""Work beside the calls."""

import asyncio

from service.local.simulator.background import Background


async def test_what_goes_wrong_in_the_background_is_reported() -> None:
    reported = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reported.set_result(report))
    background = Background()

    async def fail() -> None:
        raise ValueError("on purpose")

    background.start(fail())
    report = await reported
    await background.close()
    assert isinstance(report["exception"], ValueError)


async def test_closing_ends_what_still_runs() -> None:
    background = Background()
    started = asyncio.Event()
    ended: list[str] = []

    async def for_ever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("yes")

    background.start(for_ever())
    await started.wait()
    await background.close()
    assert ended == ["yes"]
