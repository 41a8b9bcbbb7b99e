"""The tables in Postgres, with the constraints that hold whoever writes; migrations lead to them.

Importing any of them imports all, so `metadata` is always complete.
"""

from service.schema import (
    accounts,
    callbacks,
    deliveries,
    events,
    operations,
    provider,
    subjects,
    subscribers,
)
from service.schema.base import metadata

__all__ = [
    "accounts",
    "callbacks",
    "deliveries",
    "events",
    "metadata",
    "operations",
    "provider",
    "subjects",
    "subscribers",
]
