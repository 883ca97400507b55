"""The named endpoints for many recordings at once.

No `from __future__ import annotations` here: Gradio reads the return annotation as an object.
"""

# ruff: noqa: D417 -- `request` comes from Gradio; the docstrings are for those who call from outside

import gradio as gr
from gradio import FileData

from rvc.errors import ConfigError
from ui.api import Row
from ui.services import Services, plain_errors, plain_id, received


class BatchEndpoints:
    """Endpoints about batches, as bound methods."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def upload_batch_audio(self, files: list[FileData], request: gr.Request) -> Row:
        """Send in many recordings, or zips of them, that shall be converted into another voice.

        Answers {"job_id", "files"}: the id for start_batch, and per recording what it holds; one that
        cannot be used has status "failed" and a reason, and the others go on without it.

        Args:
            files: Audio files, and .zip files of them.

        Returns:
            job_id to use with start_batch, and files with what each one holds.
        """
        with plain_errors():
            caller = self._services.caller(request)
            row = self._services.jobs.upload(caller, received(files), "batch")
            return {"job_id": row["id"], "files": row["files"]}

    def start_batch(
        self, job_ids: list[str], model_id: str, request: gr.Request, settings: Row | None = None
    ) -> Row:
        """Start to convert many recordings into a voice; answers at once.

        The row's "files" tell of each recording its status, seconds, and the reason if it failed; a bad one
        never stops the others. follow_job follows it, download_audio gives a zip with what is done, and
        resume_job goes on with what is not.

        Args:
            job_ids: From upload_batch_audio or upload_target_audio; one or several.
            model_id: From list_models.
            settings: As for start_conversion.

        Returns:
            The job's row.
        """
        with plain_errors():
            if not isinstance(job_ids, list):
                raise ConfigError("The job ids are not a list; give those of one or several uploads.")
            ids = [plain_id(job_id, "job") for job_id in job_ids]
            return self._services.start_batch(
                self._services.caller(request),
                ids,
                plain_id(model_id, "voice"),
                {} if settings is None else settings,
            )
