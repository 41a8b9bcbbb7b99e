"""The calls that are open to all."""

from typing import Any

from service.web.openapi.operations import IF_NONE_MATCH, Part, answer, header, operation
from service.web.openapi.pieces import array, record, ref, text, word
from service.web.openapi.problems import fails

TAG = "about"
HTML = "text/html"


def paths() -> dict[str, Any]:
    return {
        "/.well-known/jwks.json": {"get": _jwks()},
        "/healthz": {"get": _healthz()},
        "/readyz": {"get": _readyz()},
        "/openapi.json": {"get": _document()},
        "/docs": {"get": _docs()},
    }


def _jwks() -> Part:
    cached = {"Cache-Control": header("How long it may be kept.", text())}
    return operation(
        "readPublicKeys",
        "The public keys of `v1a` signatures, of all accounts",
        tag=TAG,
        scope=None,
        answers={
            "200": answer("A JWKS.", record({"keys": array(ref("PublicKey"))}), cached),
            **fails(422, 503),
        },
    )


def _healthz() -> Part:
    return operation(
        "isAlive",
        "The process answers",
        tag=TAG,
        scope=None,
        answers={"200": answer("It does.", record({"status": word("ok")}))},
    )


def _readyz() -> Part:
    checks = record(dict.fromkeys(("postgres", "redis", "provider"), text("ok, or what is not.")))

    def state(*words: str) -> dict[str, Any]:
        return record({"status": word(*words), "checks": checks})

    return operation(
        "isReady",
        "It can work",
        tag=TAG,
        scope=None,
        answers={
            "200": answer("Degraded is where work only waits.", state("ready", "degraded")),
            "503": answer("Postgres cannot be used.", state("unavailable")),
        },
    )


def _document() -> Part:
    schema = {"type": "object", "required": ["openapi", "info", "paths"]}
    return _kept("readDocument", "This document", answer("OpenAPI 3.1.", schema))


def _docs() -> Part:
    page = answer("A page without scripts.")
    page["content"] = {HTML: {"schema": text()}}
    return _kept("readPage", "This document, to be read in a browser", page)


def _kept(id_: str, summary: str, whole: Part) -> Part:
    """What a reader may keep, and asks about again."""
    tag = header("Names these bytes.", text(pattern='^"[0-9a-f]{64}"$'))
    kept = {"ETag": tag, "Cache-Control": header("To ask again each time.", word("no-cache"))}
    return operation(
        id_,
        summary,
        tag=TAG,
        scope=None,
        parameters=[IF_NONE_MATCH],
        answers={"200": whole | {"headers": kept}, "304": answer("It is the same.", headers=kept)},
    )
