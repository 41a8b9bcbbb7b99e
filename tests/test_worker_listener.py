"""Whatever arq meets in Redis, the worker takes jobs again, and goes on with all else."""

from collections.abc import Callable

from arq import ArqRedis
from structlog.typing import EventDict

from tests.conftest import Api
from tests.local.simulating import until
from tests.test_worker import actions, listening, redis, untimed, working

__all__ = ["redis"]


async def test_an_id_that_is_no_text_beside_a_job_that_is_gone_ends_no_worker(
    api: Api, redis: ArqRedis, logged: list[EventDict]
) -> None:
    def dropped(times: int) -> Callable[[], bool]:
        return lambda: actions(logged).count("job_dropped") >= times

    settings = untimed(api)
    async with working(settings):
        await listening(settings)
        for times in (1, 2, 3):
            await redis.zadd(settings.queue_name, {b"ghost": 1, b"\xff\xfe": 2})
            await until(dropped(times))
        assert (await api.ended((await api.create())["id"]))["state"] == "succeeded"
