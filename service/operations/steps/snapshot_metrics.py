"""The metrics that come from the snapshot, as families for `/metrics`: the same from every process.

Ages are reckoned when they are asked for, from the moments that the snapshot has: an age that was
written down would stand still when nobody writes it any more.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from math import inf

from prometheus_client.core import GaugeMetricFamily

from service.kit.metrics import PREFIX
from service.operations.domain.snapshot import MAX_COUNTED, STALE_AFTER, Snapshot, Waiting

SHARED = "The same from every process: use max."
NO_TIME = timedelta(0)


def families(snapshot: Snapshot | None, now: datetime) -> Iterator[GaugeMetricFamily]:
    """The families of a snapshot, as of `now`; its age alone, if there is none or it is stale."""
    age = inf if snapshot is None else snapshot.age(now).total_seconds()
    yield _gauge(
        "snapshot_age_seconds",
        "How old the newest snapshot is, in seconds; +Inf if this process has seen none. Above "
        f"{STALE_AFTER.seconds} all metrics that come from it are left out: those whose help ends "
        "as this one does.",
        age,
    )
    if snapshot is None or age > STALE_AFTER.total_seconds():
        return
    yield from _stages(snapshot.stages, now)
    yield from _provider(snapshot)
    yield from _database(snapshot, now)
    yield _by(
        "subscribers",
        "Subscribers by how it is with them, each in one state: the first that holds of disabled, "
        "paused, circuit_open, failing (its last attempt failed), slowed and healthy. Up to "
        f"{MAX_COUNTED:,} are counted, without those of callback_urls.",
        "state",
        snapshot.gauges.subscribers,
    )
    yield _by("holds", "Holds in force, by what they stop.", "what", snapshot.gauges.holds)
    yield from _retention(snapshot)
    yield from _audit(snapshot, now)


def _stages(stages: Mapping[str, Waiting], now: datetime) -> Iterator[GaugeMetricFamily]:
    yield _by(
        "oldest_age_seconds",
        "How long the oldest item of a stage has waited, in seconds, what is throttled, paused, "
        "held or behind an open circuit included; 0 if none waits.",
        "stage",
        {stage: _since(found.oldest_at, now) for stage, found in stages.items()},
    )
    yield _by(
        "items",
        f"How many items wait in a stage, counted up to {MAX_COUNTED:,}.",
        "stage",
        {stage: found.items for stage, found in stages.items()},
    )


def _provider(snapshot: Snapshot) -> Iterator[GaugeMetricFamily]:
    gauges, code = snapshot.gauges, snapshot.gauges.submission_stopped_code
    yield _gauge(
        "provider_slots_used",
        "Subjects that the provider has, or may have.",
        gauges.provider_slots_used,
    )
    yield _gauge(
        "provider_slots_limit",
        "The most subjects with the provider at once, as configured.",
        gauges.provider_slots_limit,
    )
    yield _gauge(
        "provider_slots_learnt",
        "The most subjects with the provider at once, as learnt from its refusals; as configured "
        "while it refuses none.",
        gauges.provider_slots_learnt,
    )
    yield _gauge(
        "submission_stopped", "1 while the provider has stopped submission.", int(code is not None)
    )
    yield _by(
        "submission_stopped_info",
        "The provider's code that has stopped submission; none while it goes on.",
        "code",
        {} if code is None else {str(code): 1},
    )


def _database(snapshot: Snapshot, now: datetime) -> Iterator[GaugeMetricFamily]:
    yield _by(
        "table_bytes",
        "Bytes of a table, with its indexes and its large values.",
        "table",
        snapshot.gauges.table_bytes,
    )
    yield _gauge(
        "database_oldest_transaction_seconds",
        "How long the oldest transaction in this database has been under way, in seconds; 0 if "
        "none is. Of other roles than the service's it is seen only with pg_read_all_stats.",
        _since(snapshot.gauges.oldest_transaction_at, now),
    )


def _retention(snapshot: Snapshot) -> Iterator[GaugeMetricFamily]:
    gauges = snapshot.gauges
    yield _by(
        "retention_oldest_timestamp_seconds",
        "The Unix time of the oldest that is kept, by kind; what pruning passed over, as something "
        "of it is pending, is left out.",
        "what",
        {kind: at.timestamp() for kind, at in gauges.oldest_kept.items()},
    )
    yield _by(
        "retention_seconds",
        "How long each kind is kept, in seconds, as configured; 0: for ever.",
        "what",
        gauges.kept_seconds,
    )


def _audit(snapshot: Snapshot, now: datetime) -> Iterator[GaugeMetricFamily]:
    if snapshot.audit is None:
        return
    yield _by(
        "audit_violations",
        "Broken promises that the last audit found, by check.",
        "check",
        snapshot.audit,
    )
    yield _gauge(
        "audit_age_seconds",
        "How long ago the last audit ended, in seconds.",
        _since(snapshot.audited_at, now),
    )


def _since(moment: datetime | None, now: datetime) -> float:
    """Seconds since then; 0 for a moment of a clock that is ahead, or if there is none."""
    return 0.0 if moment is None else max(NO_TIME, now - moment).total_seconds()


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", f"{meaning} {SHARED}", value=value)


def _by(name: str, meaning: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", f"{meaning} {SHARED}", labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
