"""The tables, with the constraints that keep the law whoever writes. Migrations lead here.

Whoever imports any of them has them all: `metadata` is always whole.
"""

from service.schema import accounts, callbacks, deliveries, events, provider, subjects, subscribers
from service.schema.base import metadata

__all__ = [
    "accounts",
    "callbacks",
    "deliveries",
    "events",
    "metadata",
    "provider",
    "subjects",
    "subscribers",
]
