"""The document as a page: HTML and a style, no script, nothing fetched from anywhere."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import orjson

from service.web.openapi.style import STYLE

RULES = {  # as they are read out
    "format": "format {}",
    "pattern": "matches {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "maxProperties": "at most {} members",
    "minimum": "from {}",
    "maximum": "to {}",
    "default": "{} if left out",
    "const": "always {}",
}
CHOICES = {"oneOf": "One of", "anyOf": "Any of"}
LINK = re.compile(r"#/components/\w+/(\w+)")

Part = Mapping[str, Any]


def style_hash() -> str:
    """What a Content-Security-Policy names the style by."""
    digest = hashlib.sha256(STYLE.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def page(document: Part) -> str:
    info = document["info"]
    calls = list(_calls(document))
    sections = (_section(document, tag, calls) for tag in document["tags"])
    schemas = document["components"]["schemas"].items()
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body>",
            f"<header><h1>{escape(info['title'])}</h1>{_prose(info['description'])}",
            *(_scheme(one) for one in document["components"]["securitySchemes"].values()),
            "</header>",
            _contents(calls),
            "<main>",
            *sections,
            '<section id="schemas"><h2>Schemas</h2>',
            *(_named(name, schema) for name, schema in schemas),
            "</section></main></body></html>",
        )
    )


def _scheme(scheme: Part) -> str:
    return f"<h2>Authentication</h2>{_prose(scheme['description'])}"


def _calls(document: Part) -> Iterator[tuple[str, str, Part]]:
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            yield method.upper(), path, call


def _contents(calls: list[tuple[str, str, Part]]) -> str:
    links = "".join(
        f'<li><a href="#{call["operationId"]}"><code>{method} {escape(path)}</code></a></li>'
        for method, path, call in calls
    )
    return f'<nav aria-label="Calls"><ul>{links}<li><a href="#schemas">Schemas</a></li></ul></nav>'


def _section(document: Part, tag: Part, calls: list[tuple[str, str, Part]]) -> str:
    name = escape(tag["name"])
    listed = (_call(document, *one) for one in calls if tag["name"] in one[2]["tags"])
    opening = f'<section id="tag-{name}"><h2>{name}</h2>{_prose(tag["description"])}'
    return "".join((opening, *listed, "</section>"))


def _call(document: Part, method: str, path: str, call: Part) -> str:
    parameters = [_found(document, one) for one in call.get("parameters", ())]
    answers = ((status, _found(document, one)) for status, one in call["responses"].items())
    return "".join(
        (
            f'<article id="{call["operationId"]}"><h3><span class="method">{method}</span> ',
            f"<code>{escape(path)}</code></h3>",
            _prose(f"{call['summary']}.\n\n{call.get('description', '')}"),
            _needs(call["security"]),
            _list("Parameters", (_parameter(one) for one in parameters)),
            _body(call.get("requestBody")),
            _list("Answers", (_answer(status, one) for status, one in answers)),
            "</article>",
        )
    )


def _found(document: Part, part: Part) -> Part:
    """What a reference among parameters and answers leads to."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    found: Part = document["components"][kind][name]
    return found


def _needs(security: list[Mapping[str, list[str]]]) -> str:
    scopes = [scope for one in security for scopes in one.values() for scope in scopes]
    words = " or ".join(f"<code>{scope}</code>" for scope in scopes)
    return f"<p>Needs a key with the scope {words}.</p>" if scopes else "<p>Open to all.</p>"


def _list(title: str, entries: Iterator[str]) -> str:
    inner = "".join(entries)
    return f"<h4>{title}</h4><dl>{inner}</dl>" if inner else ""


def _parameter(one: Part) -> str:
    needed = ", required" if one.get("required") else ""
    example = (
        f" For example <code>{escape(str(one['example']))}</code>." if "example" in one else ""
    )
    return (
        f"<dt><code>{escape(one['name'])}</code> ({one['in']}{needed})</dt>"
        f"<dd>{_inline(one['description'])}{example} {_schema(one['schema'])}</dd>"
    )


def _body(body: Part | None) -> str:
    if body is None:
        return ""
    needed = "required" if body["required"] else "may be left out"
    return f"<h4>Body ({needed})</h4>" + "".join(
        f"<p><code>{kind}</code></p>{_schema(media['schema'])}{_examples(media['examples'])}"
        for kind, media in body["content"].items()
    )


def _examples(examples: Part) -> str:
    return "".join(
        f"<details><summary>Example: {_inline(one['summary'])}</summary>"
        f"<pre>{escape(orjson.dumps(one['value'], option=orjson.OPT_INDENT_2).decode())}</pre>"
        "</details>"
        for one in examples.values()
    )


def _answer(status: str, answer: Part) -> str:
    headers = "".join(
        f"<p>Header <code>{name}</code>: {_inline(one.get('description', ''))} "
        f"{_schema(one['schema'])}</p>"
        for name, one in answer.get("headers", {}).items()
    )
    content = "".join(
        f"<p><code>{kind}</code>: {_schema(media['schema'])}</p>"
        for kind, media in answer.get("content", {}).items()
    )
    return f"<dt>{status}</dt><dd>{_inline(answer['description'])}{headers}{content}</dd>"


def _named(name: str, schema: Part) -> str:
    return f'<article id="schema-{name}"><h3>{name}</h3>{_schema(schema)}</article>'


def _schema(schema: Part) -> str:
    """Its description, its type and rules in words, and what it is made of."""
    if link := LINK.fullmatch(schema.get("$ref", "")):
        return f'<a href="#schema-{link[1]}">{link[1]}</a>'
    return "".join(
        (
            _inline(schema.get("description", "")),
            f' <span class="rules">{"; ".join(_rules(schema))}</span>',
            *(_choices(word, schema[key]) for key, word in CHOICES.items() if key in schema),
            f"<div>Each: {_schema(schema['items'])}</div>" if "items" in schema else "",
            _members(schema),
        )
    )


def _rules(schema: Part) -> Iterator[str]:
    types = schema.get("type", [])
    yield escape(" or ".join([types] if isinstance(types, str) else types))
    if "enum" in schema:
        yield ", ".join(_code(one) for one in schema["enum"])
    if "contains" in schema:
        yield f"with {_code(schema['contains']['const'])} among them"
    for key, words in RULES.items():
        if key in schema:
            yield words.format(_code(schema[key]))


def _choices(word: str, schemas: list[Part]) -> str:
    entries = "".join(f"<li>{_schema(one) if one else 'anything'}</li>" for one in schemas)
    return f"<div>{word}:</div><ul>{entries}</ul>"


def _members(schema: Part) -> str:
    required = schema.get("required", ())
    entries = "".join(
        f"<dt><code>{escape(name)}</code>{' (required)' if name in required else ''}</dt>"
        f"<dd>{_schema(one)}</dd>"
        for name, one in schema.get("properties", {}).items()
    )
    return f"<dl>{entries}</dl>" if entries else ""


def _code(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(one)}</p>" for one in text.split("\n\n") if one.strip())


def _inline(text: str) -> str:
    """Escaped; what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
