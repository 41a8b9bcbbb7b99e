"""Log lines: one JSON object a line on standard error, or text for people; of our code and of
libraries alike. deploy/README.md lists every action, with its fields.
"""

import json
import logging
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from service.kit.request_id import add_request_id
from service.settings import unknown_variables

log = structlog.get_logger()


def start_logging(level: str, log_format: str) -> None:
    """Log what is of this level or above, in this format: `json` or `text`."""
    as_text = log_format == "text"
    shared: list[Processor] = [
        add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Text shows a traceback in lines of its own, and JSON the words of enums by itself.
    shared.append(_words if as_text else structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, _text_renderer() if as_text else _JSON_BYTES],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr)
        if as_text
        else structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _text_renderer() if as_text else structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def warn_of_unknown_variables(environ: Mapping[str, str]) -> None:
    """Log each environment variable that looks like a setting and is none; never its value."""
    for name, nearest in unknown_variables(environ).items():
        log.warning("settings", action="unknown_setting", name=name, nearest=nearest)


def _words(_logger: object, _level: str, line: EventDict) -> EventDict:
    """A line with the word of each value that is one of an enum."""
    return {name: value.value if isinstance(value, Enum) else value for name, value in line.items()}


def _text_renderer() -> Processor:
    """Renders a line for people. Texts are quoted, so that none can look like a line of its own;
    a traceback has no values of variables, which may be secrets. The action stands first."""
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        repr_native_str=True,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )


def _json(line: EventDict, **options: Any) -> bytes:  # noqa: ANN401
    """A log line as JSON; by the slower standard library if it has text that is not valid
    Unicode."""
    try:
        return orjson.dumps(line, **options)
    except TypeError:
        return json.dumps(line, **options).encode()


_JSON_BYTES = structlog.processors.JSONRenderer(_json)
