"""What is counted while the server runs, in the form that Prometheus collects.

Counters begin at zero with each start of the server, as Prometheus expects; what can be read at any time
(jobs by state, memory) is not kept here but read when it is asked for. No label ever names a person.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY = CollectorRegistry()
"""Only what is Timbre's own; the library's default registry would add what it finds of Python."""

MINUTE, HOUR = 60.0, 3600.0
JOB_SECONDS = Histogram(
    "timbre_job_seconds",
    "Seconds of work of a try, without waiting and pauses, by type of job and by how it ended.",
    ["type", "status"],
    buckets=(1, 5, 15, MINUTE, 3 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 12 * HOUR),
    registry=REGISTRY,
)
REFUSALS = Counter(
    "timbre_refusals",
    "Requests that were refused, by reason.",
    ["reason"],
    registry=REGISTRY,
)
