"""What a child is told to do: job.json in the job's folder, written by the server, read by the worker.

The child gets paths and settings and nothing else: it opens no registry, and needs no environment.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ORDER_FILE = "job.json"


@dataclass(frozen=True, kw_only=True)
class WorkOrder:
    """One job, as its worker sees it. All folders are absolute.

    Attributes:
        id: The job's id.
        type: "preprocessing", "training", "conversion" or "batch", or a name that an extra task table adds.
        folder: The job's own folder.
        upload_folder: Folder of the upload whose files are worked on.
        files: The stored files, each as StoredFile.to_json gives it; paths relative to upload_folder.
        settings: What the person asked for; every key is optional.
        prepare_settings: Settings of the preparation that a training builds on; {} if there was none.
        model_name: Name that a trained voice gets.
        model_id: Id of the voice to convert into.
        model_folder: Its bundle.
        device_lock: Lock file that is held while computing on the device.
        grace_s: Seconds that the child may take to save after its server has died.
        max_audio_seconds: Longest recording that is decoded; matters to what was not decoded at its upload.
        attempt: Which try this is since a person last started the job, 1 for the first.
    """

    id: str
    type: str
    folder: Path
    upload_folder: Path
    files: list[dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    prepare_settings: dict[str, Any] = field(default_factory=dict)
    model_name: str | None = None
    model_id: str | None = None
    model_folder: Path | None = None
    device_lock: Path
    grace_s: float = 5.0
    max_audio_seconds: float = 5_400.0
    attempt: int = 1

    @property
    def work_folder(self) -> Path:
        """What survives a stop and is resumed from: features, checkpoints, samples."""
        return self.folder / "work"

    @property
    def bundle_folder(self) -> Path:
        """Where a training leaves the finished voice for the server to fetch."""
        return self.folder / "bundle"

    @property
    def result_folder(self) -> Path:
        """Where a conversion leaves its audio."""
        return self.folder / "result"

    def save(self) -> None:
        """Write job.json in one step.

        Raises:
            OSError: The disk refused.
        """
        text = json.dumps({name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()})
        temporary = self.folder / (ORDER_FILE + ".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.folder / ORDER_FILE)

    @classmethod
    def load(cls, folder: Path) -> WorkOrder:
        """Read job.json of a job's folder.

        Raises:
            OSError: There is none.
        """
        values = json.loads((folder / ORDER_FILE).read_text(encoding="utf-8"))
        for name in ("folder", "upload_folder", "device_lock", "model_folder"):
            values[name] = None if values[name] is None else Path(values[name])
        return cls(**values)
