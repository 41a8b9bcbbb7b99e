"""The options that the simulator is started with, and the settings that calls can change."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

CallbackShape = Literal["legacy", "current"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What `POST /_simulator/settings` changes while the simulator runs; times are seconds."""

    processing_after: float = 1.0  # from creation
    finished_after: float = 2.0  # from creation
    shape: CallbackShape = "legacy"  # of callbacks; rules P71, P72
    sign: bool = True  # sign callbacks, if there is a webhook secret
    parallel: int | None = None  # running tasks, above which 429/1303 is answered; None: no limit
    rate: float | None = None  # requests a second, above which 429/1302 is answered; None: no limit
    # Waits before the second attempt of a callback, the third, and so on.
    callback_retries: list[float] = field(default_factory=lambda: [1.0, 3.0, 10.0])
    callback_timeout: float = 10.0  # until an attempt at a callback has failed
    units: str = "0"  # that a task costs when it succeeds
    fetch_media: bool = True  # download media given by URL, and fail the task if it is invalid


@dataclass(frozen=True, slots=True)
class Options:
    """What the simulator is started with."""

    api_key: str = field(repr=False)  # that callers may send as Bearer token (rule P40)
    webhook_secret: str | None = field(default=None, repr=False)  # whsec_…; None: unsigned
    access_key: str | None = None  # issuer of JWTs (rule P41); None: no JWT is accepted
    secret_key: str | None = field(default=None, repr=False)  # that signs JWTs
    data: Path | None = None  # folder of the journal; None: tasks end with the process
    settings: Settings = field(default_factory=Settings)  # at the start
