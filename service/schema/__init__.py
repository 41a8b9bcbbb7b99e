"""The tables in Postgres, with the constraints that hold whoever writes; migrations lead to them.

Importing any of them imports all, so `metadata` is always complete.
"""

from service.schema import (
    accounts,
    callbacks,
    deliveries,
    erasures,
    events,
    installation,
    operations,
    provider,
    retention,
    subjects,
    subscribers,
    transaction_ids,
    usage,
)
from service.schema.base import metadata

__all__ = [
    "accounts",
    "callbacks",
    "deliveries",
    "erasures",
    "events",
    "installation",
    "metadata",
    "operations",
    "provider",
    "retention",
    "subjects",
    "subscribers",
    "transaction_ids",
    "usage",
]
