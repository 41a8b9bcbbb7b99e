"""Erasures as callers ask for them, and everything that is stored anywhere."""

from typing import Any

import httpx

from service.resources import Resources
from service.schema import metadata
from tests.support.api import Api
from tests.support.callbacks import legacy_callback
from tests.support.database import fetch
from tests.support.ingestion import post_callback, submitted_subject


async def erase(api: Api, subject_id: str) -> httpx.Response:
    return await api.http.delete(f"/v1/subjects/{subject_id}")


async def erased(api: Api, subject_id: str) -> dict[str, Any]:
    """Erase a subject; the answer, which must be a success."""
    answer = await erase(api, subject_id)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def succeeded_subject(api: Api, task: str = "880000000000000001") -> str:
    """The id of a subject that a callback has brought to its end."""
    subject_id = await submitted_subject(api, task)
    body = legacy_callback(subject_id, task=task)
    assert await post_callback(api, subject_id, body, f"msg_{task}") == "applied"
    return subject_id


async def all_rows(resources: Resources) -> str:
    """Every row of every table as text, and every binary value as text and in hex beside it."""
    stored = []
    for table in metadata.sorted_tables:
        for row in await fetch(resources, f'SELECT * FROM "{table.name}"'):  # noqa: S608 - our own tables
            stored.append(f"{table.name}: {row}")
            stored += [
                f"{value.decode(errors='replace')} {value.hex()}"
                for value in row.values()
                if isinstance(value, bytes)
            ]
    return "\n".join(stored)
