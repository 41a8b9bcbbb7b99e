"""/openapi.json and /docs: kept until they change, and shown without reaching outside."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from service.openapi.routes import document
from tests.support.api import Api
from tests.support.http_server import http_server

QUIET = (
    "--headless",
    "--no-sandbox",  # the tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SECONDS = 40
PROSE, RULES = ("summary", "description"), ("pattern", "format")
OURS = "http://127.0.0.1"  # the site of whatever is served here


class PageReader(HTMLParser):
    """The text of a page, and whatever in it a browser would fetch, run or send."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name.startswith("on") or name in {"src", "srcset", "style", "action"}:
                self.fetched.append(f"{tag} {name}")
            if name == "href" and not (value or "").startswith("#"):
                self.fetched.append(f"{tag} {value}")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read_page(html: str) -> PageReader:
    page = PageReader()
    page.feed(html)
    return page


def texts_in(part: object) -> Iterator[str]:
    """Every text for people in a part of the document, and the name of every member."""
    if isinstance(part, list):
        for entry in part:
            yield from texts_in(entry)
    if isinstance(part, dict):
        yield from (
            part[name].replace("`", "") for name in PROSE if isinstance(part.get(name), str)
        )
        yield from (part[name] for name in RULES if isinstance(part.get(name), str))
        if isinstance(part.get("properties"), dict):
            yield from part["properties"]
        for name, value in part.items():
            if name not in {"example", "value"}:
                yield from texts_in(value)


def shows_the_document(page: PageReader) -> None:
    text = "".join(page.text)
    described = document()
    for path, methods in described["paths"].items():
        for method, call in methods.items():
            assert f"{method.upper()} {path}" in text
            assert call["summary"].replace("`", "") in text
    for name in described["components"]["schemas"]:
        assert name in text
    assert "subjects:write" in text
    for scheme in described["components"]["securitySchemes"].values():
        assert scheme["description"].replace("`", "") in text
    assert "Authorization: Bearer <key>" in text
    words = " ".join(text.split())
    for text_of_member in texts_in({name: described[name] for name in ("paths", "components")}):
        assert " ".join(text_of_member.split()) in words
    assert "A pilot in a red jacket" in text


async def test_the_page_is_whole_in_itself(api: Api) -> None:
    answer = await api.http.get("/docs", headers={"authorization": ""})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; "
        r"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        policy,
    )
    page = read_page(answer.text)
    assert not page.fetched
    assert not page.tags & {"script", "link", "img", "iframe", "object", "form", "base"}
    shows_the_document(page)


async def test_every_link_of_the_page_leads_somewhere(api: Api) -> None:
    html = (await api.http.get("/docs")).text
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)


async def test_both_are_asked_for_again_only_when_they_have_changed(api: Api) -> None:
    for path in ("/openapi.json", "/docs"):
        answer = await api.http.get(path)
        same = await api.http.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        other = await api.http.get(path, headers={"if-none-match": '"other"'})
        assert (other.status_code, other.content) == (200, answer.content)


@pytest.mark.timeout(120)
async def test_a_browser_shows_the_page_and_asks_nobody_else(api: Api, tmp_path: Path) -> None:
    address = str(api.http.base_url).rstrip("/")
    html, requests = await browse(f"{address}/docs", tmp_path)
    shows_the_document(read_page(html))
    assert f"{address}/docs" in requests
    assert not [url for url in requests if not url.startswith(f"{address}/")]


@pytest.mark.timeout(120)
async def test_a_page_that_asked_others_would_be_noticed(tmp_path: Path) -> None:
    async def greedy(scope: Scope, _receive: Receive, send: Send) -> None:
        await HTMLResponse('<img src="http://outside.example/x.png">')(scope, _receive, send)

    async with http_server(greedy) as address:
        _, requests = await browse(address, tmp_path)
    assert "http://outside.example/x.png" in requests


async def browse(url: str, folder: Path) -> tuple[str, list[str]]:
    """The page as Chromium has it in the end, and the URLs it asked for on the way."""
    browser = shutil.which("chromium")
    if browser is None:
        message = "there is no chromium here: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    log = folder / "net.json"
    process = await asyncio.create_subprocess_exec(
        browser,
        *QUIET,
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}",
        "--dump-dom",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(), requested(json.loads(log.read_text()))


def requested(log: dict[str, Any]) -> list[str]:
    """The URLs that were asked for on behalf of a page of ours; the browser has errands too."""
    source = log["constants"]["logSourceType"]["URL_REQUEST"]
    start = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    begun = [
        event["params"]
        for event in log["events"]
        if (event["source"]["type"], event["type"]) == (source, start) and "params" in event
    ]
    return [request["url"] for request in begun if OURS in request.get("network_isolation_key", "")]
