"""The metrics of this process, and those that the snapshot has of the whole service, as text."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from service import metrics as _process_metrics  # noqa: F401 - they are made when it is imported
from service.kit.metrics import REGISTRY
from service.operations.steps import snapshot, snapshot_metrics
from service.resources import Resources


@dataclass(frozen=True, slots=True)
class _Collected(Collector):
    """Families as they were when they were collected."""

    families: Sequence[Metric]

    def collect(self) -> Sequence[Metric]:
        return self.families


async def exposition(resources: Resources, *, openmetrics: bool) -> bytes:
    """All metrics, in the format of OpenMetrics 1.0.0, or in Prometheus' text format 0.0.4. While
    Postgres is away, it is what this process has by itself, after half a second at most."""
    newest = await snapshot.current(resources)
    shared = snapshot_metrics.families(newest, resources.clock())
    collected = _Collected([*REGISTRY.collect(), *shared])
    generate = generate_openmetrics if openmetrics else generate_latest
    # Some thousand lines take tens of milliseconds, in which the event loop is to go on.
    return await asyncio.to_thread(generate, collected)
