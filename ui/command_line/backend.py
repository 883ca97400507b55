"""What commands ask of Timbre, be it the data folder of this machine or a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.store.records import Row, Rows

Named = Sequence[tuple[Path, str]]  # files, and what they are called


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    files: int
    megabytes: float


class Backend(Protocol):
    """Rows are those of the endpoints; whatever is refused is an RvcError."""

    def voices(self) -> Rows: ...

    def limits(self) -> BatchLimits:
        """Return what one batch may hold."""
        ...

    def start(self, kind: str, files: Named, settings: Row, **voice: str) -> Row:
        """Send recordings in and start a job on them; when it is refused, nothing of them is kept.

        `voice` is a model_name to train, or a model_id to speak in.
        """
        ...

    def train_prepared(self, job_id: str, settings: Row, model_name: str) -> Row:
        """Start a training on the recordings of a preparation."""
        ...

    def say(self, text: str, settings: Row, model_id: str) -> Row:
        """Start to speak a text in a voice."""
        ...

    def follow(self, job_id: str) -> Iterator[Row]:
        """Iterate over a job's row as it changes, the last when it has ended."""
        ...

    def cancel(self, job_id: str) -> Row: ...

    def resume(self, job_id: str) -> Row: ...

    def remove(self, job_id: str) -> None:
        """Remove a job or an upload for good, with its files."""
        ...

    def result(self, job_id: str, number: int | None = None) -> Path:
        """Return what a conversion made, or a batch of its recording of this number, from 1."""
        ...

    def report(self, job_id: str) -> Row: ...

    def import_voice(self, files: Named, name: str) -> Row: ...

    def export_voice(self, model_id: str, form: str) -> Path: ...

    def is_synthetic(self, path: Path, name: str) -> Row:
        """Return which marks a recording has, in sentences too."""
        ...

    def close(self) -> None: ...
