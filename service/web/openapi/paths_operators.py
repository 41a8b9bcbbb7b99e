"""The calls of the provider, and of those who look after what it sent."""

from typing import Any

from service.core.sources import SOURCE
from service.store.archive import VERDICTS
from service.store.callers import OPERATOR
from service.web.openapi import examples
from service.web.openapi.operations import (
    Part,
    answer,
    body,
    component,
    in_header,
    in_path,
    in_query,
    operation,
)
from service.web.openapi.paths_subjects import SHORT
from service.web.openapi.pieces import STORABLE, nullable, page_of, record, ref, text, word
from service.web.openapi.problems import conflict, fails, not_believed
from service.web.receive import MAX_CALLBACK

TAG = "callbacks"
CALLBACK = component("callback_id")
SIGNATURE = (
    in_header("webhook-id", text(), "The message's id: the same whenever it is sent."),
    in_header("webhook-timestamp", text(), "Unix seconds."),
    in_header("webhook-signature", text(), "`v1,…`, over `{id}.{timestamp}.{body}`."),
)


def paths() -> dict[str, Any]:
    name = text(pattern=f"^{SOURCE.pattern}$")
    address = in_path("address", text(), "A token, or the name of a source.", "no-such-source")
    source = in_path("source", name, "The name of a source.", "provider")
    token = in_path("token", text(), "A token.", "sub_01kcr4v2m8h0x5q7s9t3w6y1za.forged")
    return {
        "/callbacks": {"post": _take("takeCallback", "Take what belongs to no subject", [])},
        "/callbacks/{address}": {
            "post": _take("takeCallbackAt", "Take what is about one subject", [address])
        },
        "/callbacks/{source}/{token}": {
            "post": _take("takeCallbackFrom", "The same from a further source", [source, token])
        },
        "/v1/callbacks": {"get": _list()},
        "/v1/callbacks/{callback_id}": {"get": _read()},
        "/v1/callbacks/{callback_id}/reverify": {"post": _reverify()},
    }


def _take(id_: str, summary: str, parameters: list[Part]) -> Part:
    return operation(
        id_,
        summary,
        tag=TAG,
        scope=None,
        description="For the provider. A signature takes the key's place; how a source signs is a "
        f"setting. At most {MAX_CALLBACK:,} bytes.",
        parameters=[*parameters, *SIGNATURE],
        body=body(ref("TaskRecord"), examples.CALLBACKS),
        answers={
            "200": answer("It is durable.", record({"verdict": ref("Verdict")})),
            **not_believed(),
            **fails(400, 413, 503),
        },
    )


def _list() -> Part:
    page = page_of(ref("Callback"), nullable(text()), counts=ref("Counts"))
    return operation(
        "listCallbacks",
        "List what came, of every account, the newest first",
        tag=TAG,
        scope=OPERATOR,
        parameters=[
            in_query("verdict", word(*VERDICTS), "Judged so.", "rejected"),
            in_query("subject", text(pattern=STORABLE), "About this subject."),
            in_query("source", text(pattern=STORABLE), "From this source.", "provider"),
            component("account"),
            component("limit"),
            in_query("cursor", text(pattern=STORABLE), "What `next_cursor` said."),
        ],
        answers={"200": answer(SHORT, page), **fails(422)},
    )


def _read() -> Part:
    return operation(
        "readCallback",
        "Read what came, whole",
        tag=TAG,
        scope=OPERATOR,
        parameters=[CALLBACK],
        answers={"200": answer("As it is kept.", ref("WholeCallback")), **fails(404)},
    )


def _reverify() -> Part:
    return operation(
        "reverifyCallback",
        "Judge again what was rejected, or unknown",
        tag=TAG,
        scope=OPERATOR,
        parameters=[CALLBACK],
        answers={
            "200": answer("As it is kept then.", ref("WholeCallback")),
            **conflict("Nothing came of it.", "NotRejected", "StillRejected"),
            **fails(404),
        },
    )
