"""A way to the test's database that can go silent."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.support.tcp_proxy import TcpProxy, tcp_proxy


def behind(url: str, way: TcpProxy) -> str:
    """The same database by way of the relay."""
    port = urlsplit(url).port
    return url.replace(f":{port}/", f":{way.port}/")


@pytest.fixture
async def forgetful(database_url: str) -> AsyncIterator[tuple[str, TcpProxy]]:
    port = urlsplit(database_url).port
    assert port
    async with tcp_proxy(port) as way:
        yield behind(database_url, way), way
