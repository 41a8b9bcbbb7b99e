"""The calls about subscribers, and about the secrets that sign what they are sent."""

from typing import Any

from service.web.openapi import examples
from service.web.openapi.operations import (
    Part,
    answer,
    body,
    component,
    header,
    in_query,
    operation,
)
from service.web.openapi.pieces import (
    STORABLE,
    nullable,
    of_account,
    page_of,
    record,
    ref,
    text,
    truth,
    whole,
    word,
)
from service.web.openapi.problems import conflict, fails
from service.web.openapi.schemas_subscribers import PUBLIC_KEYS, SECRET
from service.web.requests import MAX_SMALL_BODY

SCOPE, TAG, KEYS = "subscribers", "subscribers", "secrets"
SUBSCRIBER = component("subscriber_id")
LOCATION = header("Where it is read.", text(pattern="/v1/subscribers/[^/]+$"))
NO_STORE = {"Cache-Control": header("It has a secret in it.", word("no-store"))}
NAMED = fails(404)
READ_BODY = fails(400, 413, 415, 422)
SMALL = f"At most {MAX_SMALL_BODY:,} bytes."
DISABLED = conflict("Nothing is sent to a disabled subscriber.", "Disabled")
SHOWN_SECRET = record({"secret": SECRET}, of_account())


def paths() -> dict[str, Any]:
    one = "/v1/subscribers/{subscriber_id}"
    return {
        "/v1/subscribers": {"post": _create(), "get": _list()},
        one: {"get": _read(), "patch": _change(), "delete": _delete()},
        f"{one}/test": {"post": _try_out()},
        f"{one}/rotate-secret": {"post": _rotate()},
        f"{one}/replay": {"post": _replay()},
        "/v1/account/callback-secret": {"get": _callback_secret()},
        "/v1/account/callback-secret/rotate": {"post": _rotate_callback_secret()},
    }


def _create() -> Part:
    made = answer(
        "Made. The secret is shown this once.",
        ref("CreatedSubscriber"),
        {"Location": LOCATION, **NO_STORE},
    )
    return operation(
        "createSubscriber",
        "Make a subscriber",
        tag=TAG,
        scope=SCOPE,
        own=True,
        description=SMALL,
        body=body(ref("NewSubscriber"), examples.SUBSCRIBERS),
        answers={"201": made, **READ_BODY},
    )


def _list() -> Part:
    after = in_query("cursor", text(pattern=STORABLE), "What `next_cursor` said.")
    return operation(
        "listSubscribers",
        "List subscribers, the newest first",
        tag=TAG,
        scope=SCOPE,
        parameters=[component("account"), component("limit"), after],
        answers={
            "200": answer("A page.", page_of(ref("Subscriber"), nullable(text()))),
            **fails(422),
        },
    )


def _read() -> Part:
    return operation(
        "readSubscriber",
        "Read a subscriber",
        tag=TAG,
        scope=SCOPE,
        parameters=[SUBSCRIBER],
        answers={"200": answer("As it is now.", ref("Subscriber")), **NAMED},
    )


def _change() -> Part:
    return operation(
        "changeSubscriber",
        "Change, pause or bring back a subscriber",
        tag=TAG,
        scope=SCOPE,
        description=SMALL,
        parameters=[SUBSCRIBER],
        body=body(ref("SubscriberChange"), examples.CHANGES),
        answers={"200": answer("As it is now.", ref("Subscriber")), **NAMED, **READ_BODY},
    )


def _delete() -> Part:
    return operation(
        "deleteSubscriber",
        "Remove a subscriber, and what waits for it",
        tag=TAG,
        scope=SCOPE,
        parameters=[SUBSCRIBER],
        answers={"204": answer("Gone."), **NAMED},
    )


def _try_out() -> Part:
    return operation(
        "tryOutSubscriber",
        "Send a `callsheet.test` now, once",
        tag=TAG,
        scope=SCOPE,
        parameters=[SUBSCRIBER],
        answers={"200": answer("What came of it.", ref("Trial")), **NAMED},
    )


def _rotate() -> Part:
    shown = record(
        {"id": ref("SubscriberId"), "secret": SECRET}, {"public_keys": PUBLIC_KEYS, **of_account()}
    )
    return operation(
        "rotateSecret",
        "Give a subscriber a new secret",
        tag=KEYS,
        scope=SCOPE,
        description=f"Without a body all is as by default. {SMALL}",
        parameters=[SUBSCRIBER],
        body=body(ref("Rotation"), examples.ROTATIONS, required=False),
        answers={"200": answer("The new secret.", shown, NO_STORE), **NAMED, **READ_BODY},
    )


def _replay() -> Part:
    count = record({"count": whole(0), "dry_run": truth()}, of_account())
    return operation(
        "replay",
        "Send a subscriber again what it missed",
        tag=TAG,
        scope=SCOPE,
        description=SMALL,
        parameters=[SUBSCRIBER],
        body=body(ref("Replay"), examples.REPLAYS),
        answers={
            "200": answer("So many would be sent.", count),
            "202": answer("So many are on their way.", count),
            **DISABLED,
            **NAMED,
            **READ_BODY,
        },
    )


def _callback_secret() -> Part:
    return operation(
        "readCallbackSecret",
        "What signs that which goes to a request's own `callback_url`",
        tag=KEYS,
        scope=SCOPE,
        own=True,
        answers={"200": answer("The secret.", SHOWN_SECRET, NO_STORE)},
    )


def _rotate_callback_secret() -> Part:
    return operation(
        "rotateCallbackSecret",
        "Change what signs that which goes to a request's own `callback_url`",
        tag=KEYS,
        scope=SCOPE,
        own=True,
        description=f"Without a body all is as by default. {SMALL}",
        body=body(ref("Rotation"), examples.ROTATIONS, required=False),
        answers={
            "200": answer("The new secret.", SHOWN_SECRET, NO_STORE),
            **READ_BODY,
        },
    )
