"""Doors: the ways by which requests to create a subject come in."""

from enum import StrEnum


class Door(StrEnum):
    """The way by which a request came."""

    API = "api"  # POST /v1/subjects
    BATCH = "batch"  # POST /v1/subjects/batch
    ARQ = "arq"  # the job create_subject
    COMPAT_API = "compat_api"  # the provider's own path
