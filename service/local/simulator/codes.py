"""Error codes and the response envelope of the provider (rules P6, P45 to P60)."""

from typing import Any
from uuid import uuid4

import orjson

STATUS_OF_CODE = {
    0: 200,
    **dict.fromkeys((1000, 1001, 1002, 1003, 1004), 401),
    **dict.fromkeys((1100, 1101, 1102, 1302, 1303, 1304), 429),
    1103: 403,
    **dict.fromkeys((1200, 1201, 1300, 1301), 400),
    **dict.fromkeys((1202, 1203), 404),
    5000: 500,
    5001: 503,
    5002: 504,
}
MESSAGE_OF_CODE = {
    1000: "Authentication failed",
    1001: "Authorization is empty",
    1002: "Authorization is invalid",
    1003: "Authorization is not yet valid",
    1004: "Authorization has expired",
    1100: "Account abnormal",
    1101: "Account in arrears",
    1102: "Resource pack used up or expired",
    1103: "No permission for this resource",
    1200: "Invalid request parameters",
    1201: "Invalid parameters",
    1202: "The requested method is invalid",
    1203: "The requested resource does not exist",
    1300: "Platform policy triggered",
    1301: "Content security policy triggered",
    1302: "Too many requests",
    1303: "Parallel tasks over the resource pack limit",
    1304: "IP not on the whitelist",
    5000: "Internal server error",
    5001: "Server temporarily unavailable, under maintenance",
    5002: "Server internal timeout",
}


class Refusal(Exception):
    """Refuse the call with this code of the provider's."""

    def __init__(self, code: int, message: str | None = None) -> None:
        self.code = code
        self.message = message or MESSAGE_OF_CODE.get(code, "Refused")
        super().__init__(self.message)

    @property
    def status(self) -> int:
        """HTTP status of the code; 400 for a code that no rule lists."""
        return STATUS_OF_CODE.get(self.code, 400)


def success_body(data: Any) -> bytes:  # noqa: ANN401 — any JSON
    """The envelope of a success, as JSON."""
    return orjson.dumps({"code": 0, "message": "SUCCEED", "request_id": str(uuid4()), "data": data})


def body_without_data(code: int, message: str) -> bytes:
    """The envelope of an error, or of a success that has no `data`, as JSON."""
    return orjson.dumps({"code": code, "message": message, "request_id": str(uuid4())})
