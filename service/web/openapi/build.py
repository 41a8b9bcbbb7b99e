"""The document, put together: OpenAPI 3.1."""

from typing import Any

from service.core.access_tokens import LEEWAY, MAX_LIFE
from service.web.openapi import (
    paths_deliveries,
    paths_events,
    paths_open,
    paths_operators,
    paths_provider,
    paths_subjects,
    paths_subscribers,
    problems,
    schemas_operators,
    schemas_requests,
    schemas_subjects,
    schemas_subscribers,
)
from service.web.openapi.operations import IDS, KEY, PARAMETERS

VERSION = "1"  # of the contract: what stands in the paths
INTRODUCTION = """\
Callsheet takes "create subject" requests, sees each through the provider, and tells every
subscriber what became of it.

Whatever is wrong is answered as a problem (RFC 9457) with a stable `code`; a request that breaks
rules is told all of them at once. A method that a path does not take is answered 405, with `Allow`;
`HEAD` is taken wherever `GET` is. A query parameter that is not listed is refused.

Several header lines of one name are one list (RFC 9110, section 5.3); where a header is none, as
`Idempotency-Key`, two unlike lines are answered 400. A request without `Host`, with two, or with a
`Transfer-Encoding` other than `chunked` is answered 400 in plain text, and the connection closed.

A key is of one account, and knows nothing of others: what is another's is answered 404. One with
the scope `operator` reads and mends what is of any account, but makes nothing in another than its
own. Its lists and its feed are of every account, or of the one that `account` names, and every
answer to it names the account.

Times are RFC 3339; those in answers have milliseconds, in UTC."""
TAGS = {
    "subjects": "Requests, and what became of them.",
    "events": "What happened, in order, as pages and streams.",
    "subscribers": "Who is told of what, where and how.",
    "deliveries": "What was sent to subscribers, attempt by attempt.",
    "secrets": "What signs the things that go out.",
    "callbacks": "What the provider sends, and what was made of it.",
    "provider": "The calls of the provider itself, for its existing clients, in its envelope.",
    "about": "This service.",
}
PARTS = (
    paths_subjects,
    paths_events,
    paths_subscribers,
    paths_deliveries,
    paths_operators,
    paths_provider,
    paths_open,
)


def document(root: str = "", *, voice_for_images: bool = False) -> dict[str, Any]:
    """`root` is the path that stands before all of ours outside; `voice_for_images` is the setting
    of that name: one rule depends on it."""
    paths: dict[str, Any] = {}
    for part in PARTS:
        paths |= part.paths()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Callsheet", "version": VERSION, "description": INTRODUCTION},
        "servers": [{"url": root or "/"}],
        "tags": [{"name": name, "description": what} for name, what in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {KEY: _key()},
            "parameters": PARAMETERS,
            "responses": problems.responses(),
            "schemas": {
                **IDS,
                **schemas_requests.schemas(voice_for_images=voice_for_images),
                **schemas_subjects.schemas(),
                **schemas_subscribers.schemas(),
                **schemas_operators.schemas(),
                **paths_provider.schemas(),
                **problems.schemas(),
            },
        },
    }


def _key() -> dict[str, str]:
    made = (
        "Send `Authorization: Bearer <key>` with every call that needs a key. "
        "`callsheet keys create` makes one; what stands beside it in an operation is the scope it "
        "needs. "
        "Who has an access key and a secret key (`--pair`) sends a token in its place, as the "
        "provider's clients do: a JWT, HS256, signed with the secret key's characters; `iss` is "
        f"the access key, `exp` at most {MAX_LIFE:,} seconds from now, and `nbf`, if there is one, "
        f"at most {LEEWAY}."
    )
    return {"type": "http", "scheme": "bearer", "description": made}
