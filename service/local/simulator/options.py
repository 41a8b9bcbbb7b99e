"""What the simulator is started with, and what may be changed while it runs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

CallbackShape = Literal["older", "newer"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Changed by `POST /_simulator/settings`; times are seconds, None means no limit."""

    processing_after: float = 1.0  # from creation
    finished_after: float = 2.0  # from creation
    shape: CallbackShape = "older"  # of callbacks; rules P71, P72
    sign: bool = True  # as far as there is a webhook secret
    parallel: int | None = None  # running tasks above it: 429/1303
    rate: float | None = None  # requests a second above it: 429/1302
    callback_retries: list[float] = field(default_factory=lambda: [1.0, 3.0, 10.0])
    callback_timeout: float = 10.0
    fetch_media: bool = True


@dataclass(frozen=True, slots=True)
class Options:
    """`data` is a folder; with it tasks outlive the process."""

    api_key: str = field(repr=False)
    webhook_secret: str | None = field(default=None, repr=False)
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    data: Path | None = None
    settings: Settings = field(default_factory=Settings)
