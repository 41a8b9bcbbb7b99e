"""The calls about deliveries."""

from typing import Any

from service.web.deliveries import STATES
from service.web.openapi.operations import (
    CURSOR,
    Part,
    answer,
    component,
    in_query,
    operation,
)
from service.web.openapi.paths_subjects import SHORT
from service.web.openapi.paths_subscribers import DISABLED
from service.web.openapi.pieces import STORABLE, nullable, page_of, ref, text, word
from service.web.openapi.problems import fails

SCOPE, TAG = "subscribers", "deliveries"
NAMED = fails(404)
DELIVERY = component("delivery_id")


def paths() -> dict[str, Any]:
    return {
        "/v1/subjects/{subject_id}/deliveries": {"get": _of_subject()},
        "/v1/subscribers/{subscriber_id}/deliveries": {"get": _of_subscriber()},
        "/v1/deliveries/{delivery_id}": {"get": _read()},
        "/v1/deliveries/{delivery_id}/resend": {"post": _resend()},
    }


def _of_subject() -> Part:
    page = page_of(ref("Delivery"), {"type": "null"})
    return operation(
        "listDeliveriesOfSubject",
        "To whom a subject's events were told, the newest first, whole",
        tag=TAG,
        scope=SCOPE,
        parameters=[component("subject_id")],
        answers={"200": answer("All of them.", page), **fails(404, 422)},
    )


def _of_subscriber() -> Part:
    return operation(
        "listDeliveriesOfSubscriber",
        "What a subscriber was sent, the newest first",
        tag=TAG,
        scope=SCOPE,
        parameters=[
            component("subscriber_id"),
            in_query("state", word(*sorted(STATES)), "In this state now.", "dead"),
            in_query("event_id", text(pattern=STORABLE), "Of this event."),
            component("limit"),
            component("cursor"),
        ],
        answers={
            "200": answer(
                SHORT,
                page_of(ref("Delivery"), nullable(CURSOR)),
            ),
            **fails(400, 404, 422),
        },
    )


def _read() -> Part:
    return operation(
        "readDelivery",
        "Read a delivery, with what was answered",
        tag=TAG,
        scope=SCOPE,
        parameters=[DELIVERY],
        answers={"200": answer("As it is now.", ref("WholeDelivery")), **NAMED},
    )


def _resend() -> Part:
    return operation(
        "resend",
        "Send a delivery again",
        tag=TAG,
        scope=SCOPE,
        parameters=[DELIVERY],
        answers={"202": answer("On its way.", ref("WholeDelivery")), **DISABLED, **NAMED},
    )
