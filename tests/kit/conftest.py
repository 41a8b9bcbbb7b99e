"""A proxy in front of the test's database that can go silent."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.support.tcp_proxy import TcpProxy, tcp_proxy


def behind(url: str, proxy: TcpProxy) -> str:
    """The URL of a database, reached through the proxy."""
    port = urlsplit(url).port
    return url.replace(f":{port}/", f":{proxy.port}/")


@pytest.fixture
async def proxied_database(database_url: str) -> AsyncIterator[tuple[str, TcpProxy]]:
    """The URL of the test's database behind a proxy, and the proxy."""
    port = urlsplit(database_url).port
    assert port
    async with tcp_proxy(port) as proxy:
        yield behind(database_url, proxy), proxy
