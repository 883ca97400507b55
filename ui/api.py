"""The named endpoints: what gradio_client, curl and other programs call.

Every endpoint is typed, answers JSON or a file, and tells who calls by the same rules as the page
(`ui.server.identity`). Its docstring is what "Use via API" shows. Parameter names are promises.

No `from __future__ import annotations` here: Gradio reads the return annotation as an object.

The named endpoints about one's own account: who one is, what one uses, tokens, and deleting jobs.

No `from __future__ import annotations` here: Gradio reads the return annotation as an object.

The named endpoints for many recordings at once.

No `from __future__ import annotations` here: Gradio reads the return annotation as an object.

The named endpoints about voices and about the server itself.

No `from __future__ import annotations` here: Gradio reads the return annotation as an object.
"""

from __future__ import annotations

# ruff: noqa: D417 -- `request` comes from Gradio; the docstrings are for those who call from outside
from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio import FileData

# ruff: noqa: D417 -- `request` comes from Gradio; the docstrings are for those who call from outside
# ruff: noqa: D417 -- `request` comes from Gradio; the docstrings are for those who call from outside
from rvc.errors import ConfigError, UnknownNameError

# ruff: noqa: D417 -- `request` comes from Gradio; the docstrings are for those who call from outside
from ui.server.monitoring import health_of, info_of
from ui.server.services import Services, hand_out, plain_errors, plain_id, received
from ui.tabs.account import create_token

Row = dict[str, Any]
Rows = list[dict[str, Any]]
WATCH = {"concurrency_id": "watch", "concurrency_limit": 20}
GPU = {"concurrency_id": "gpu", "concurrency_limit": 1}


class Endpoints:
    """All endpoints of one server, as bound methods."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs
        self._library = services.library

    # Recordings

    def upload_training_audio(self, files: list[FileData], request: gr.Request) -> Row:
        """Send in the recordings of a voice that shall be trained; one refused file refuses all.

        Answers {"job_id", "files"}: the id for prepare_voice and start_training, and what each file holds.

        Args:
            files: Audio files of one person: WAV, FLAC, MP3, M4A, OGG, AAC.

        Returns:
            job_id to use with prepare_voice and start_training, and files with what each one holds.
        """
        return self._upload(files, "training", request)

    def upload_target_audio(self, file: FileData, request: gr.Request) -> Row:
        """Send in one recording that shall be converted into another voice.

        Answers {"job_id", "files"}: the id for start_conversion, and what the file holds.

        Args:
            file: One audio file.

        Returns:
            job_id to use with start_conversion, and files with what it holds.
        """
        return self._upload([file], "target", request)

    def validate_audio(self, job_id: str, request: gr.Request) -> Row:
        """Measure what was sent in, without running any model.

        Args:
            job_id: From upload_training_audio or upload_target_audio.

        Returns:
            files: for each one its length, rate, channels, codec, noise, clipping, level and bandwidth, a
            verdict and the reason.
        """
        with plain_errors():
            return self._jobs.files.validate(self._services.caller(request), plain_id(job_id, "job"))

    def prepare_voice(self, job_id: str, request: gr.Request, settings: Row | None = None) -> Row:
        """Clean and cut the recordings and report on them, before any training.

        Args:
            job_id: From upload_training_audio.
            settings: Optional settings of the preparation.

        Returns:
            The row of the preparing job, at once; follow_job follows it, dataset_report reads its report.
        """
        return self._submit(request, "preprocessing", job_id, settings)

    def dataset_report(self, job_id: str, request: gr.Request) -> Row:
        """Read the report on a set of recordings: what is usable, what is not, and what would help.

        Args:
            job_id: From prepare_voice, start_training or upload_training_audio.

        Returns:
            The report.
        """
        with plain_errors():
            report = self._jobs.files.report(self._services.caller(request), plain_id(job_id, "job"))
            if report is None:
                raise UnknownNameError(
                    "There is no report on these recordings yet; call prepare_voice first."
                )
            return report

    # Jobs

    def start_training(
        self, job_id: str, model_name: str, request: gr.Request, settings: Row | None = None
    ) -> Row:
        """Start to train a voice; answers at once. The training goes on when you disconnect.

        settings may hold "consent": true (this is my voice, or I have permission to use it). Optional are
        total_steps, batch_size, patience, seed and reduce_noise; and "engine": "rvc" with version ("v1",
        "v2"), sample_rate_hz (32000, 40000, 48000), f0, f0_estimator, precision, gradient_checkpointing.

        Args:
            job_id: From upload_training_audio.
            model_name: What the voice shall be called.
            settings: "consent": true (this is my voice, or I have permission) is kept on its card;
                total_steps, batch_size, patience and more.

        Returns:
            The job's row.
        """
        return self._submit(request, "training", job_id, settings, model_name=model_name)

    def start_conversion(
        self, job_id: str, model_id: str, request: gr.Request, settings: Row | None = None
    ) -> Row:
        """Start to convert a recording into a voice; answers at once.

        settings may hold transpose_semitones (automatic when absent), index_rate 0..1, protect 0..0.5,
        follow_loudness 0..1 and format ("wav", "flac", "mp3" or "ogg").

        Args:
            job_id: From upload_target_audio.
            model_id: From list_models.
            settings: Optional: transpose_semitones, index_rate, protect, follow_loudness, format.

        Returns:
            The job's row.
        """
        return self._submit(request, "conversion", job_id, settings, model_id=model_id)

    def train_voice(
        self, files: list[FileData], model_name: str, request: gr.Request, settings: Row | None = None
    ) -> Iterator[Row]:
        """Send in recordings, train a voice and watch: one call for the whole way.

        Gives job rows as they change; the first holds the id, the last the voice as "model". settings is
        that of start_training. Closing the stream does not stop the training; cancel_job does.

        Args:
            files: Audio files of one person.
            model_name: What the voice shall be called.
            settings: As for start_training.

        Returns:
            Job rows as they change; the last one has "model" when it says "completed".
        """
        row = self._send_and_submit(request, files, "training", settings, model_name=model_name)
        yield from self._follow(row, request)

    def convert_voice(
        self, file: FileData, model_id: str, request: gr.Request, settings: Row | None = None
    ) -> Iterator[Row]:
        """Send in a recording, convert it and watch: one call for the whole way.

        Gives job rows as they change; the first holds the id, the last the converted file as "audio".
        settings is that of start_conversion.

        Args:
            file: One audio file.
            model_id: From list_models.
            settings: As for start_conversion.

        Returns:
            Job rows as they change; the last one has "audio" when it says "completed".
        """
        row = self._send_and_submit(request, [file], "conversion", settings, model_id=model_id)
        yield from self._follow(row, request)

    def job_status(self, job_id: str, request: gr.Request) -> Row:
        """Read where a job stands.

        Args:
            job_id: Any job of yours.

        Returns:
            The job's row.
        """
        with plain_errors():
            return self._jobs.get(self._services.caller(request), plain_id(job_id, "job"))

    def list_jobs(self, request: gr.Request, user_id: str = "", type: str = "", status: str = "") -> Rows:
        """List your jobs, newest first.

        Args:
            user_id: Whose jobs; heeded for an admin only.
            type: preprocessing, training, conversion or batch; all when empty.
            status: For example completed or failed; all when empty.

        Returns:
            The rows.
        """
        with plain_errors():
            caller = self._services.caller(request)
            wanted = {"user_id": user_id or None, "type": type or None, "status": status or None}
            return self._jobs.list(caller, **wanted)

    def cancel_job(self, job_id: str, request: gr.Request) -> Row:
        """Stop a job; a training keeps what it has learned and can be resumed.

        Args:
            job_id: A job of yours that has not ended.

        Returns:
            The job's row.
        """
        return self._act("cancel", job_id, request)

    def retry_job(self, job_id: str, request: gr.Request) -> Row:
        """Run a failed, cancelled or interrupted job again from its start.

        Args:
            job_id: A job of yours that has ended without a result.

        Returns:
            The job's row.
        """
        return self._act("retry", job_id, request)

    def resume_job(self, job_id: str, request: gr.Request) -> Row:
        """Go on with a cancelled, failed or interrupted job where it was last saved.

        Args:
            job_id: A job of yours that has ended without a result.

        Returns:
            The job's row.
        """
        return self._act("resume", job_id, request)

    def follow_job(self, job_id: str, request: gr.Request) -> Iterator[Row]:
        """Watch a job: its row at every change and at least every two seconds, until it ends.

        Args:
            job_id: Any job of yours.

        Returns:
            Job rows; the last has an ended status.
        """
        with plain_errors():
            row = self._jobs.get(self._services.caller(request), plain_id(job_id, "job"))
        yield from self._follow(row, request)

    def follow_jobs(self, request: gr.Request, user_id: str = "") -> Iterator[Row]:
        """Watch all your jobs that have not ended, one after the other in the order in which they change.

        Args:
            user_id: Whose jobs; heeded for an admin only.

        Returns:
            Job rows, each when it has changed; ends when no job is waiting or running.
        """
        with plain_errors():
            yield from self._services.changes(self._services.caller(request), user_id or None)

    def download_audio(self, job_id: str, request: gr.Request) -> FileData:
        """Download the converted recording of a job, or a zip of all that a batch has converted.

        Args:
            job_id: A completed conversion of yours, or a batch that has ended.

        Returns:
            An audio file that a browser can play, or a zip.
        """
        with plain_errors():
            path = self._jobs.files.result_path(self._services.caller(request), plain_id(job_id, "job"))
            return FileData(path=hand_out(path, "converted"))

    def download_input(self, job_id: str, request: gr.Request) -> FileData:
        """Download the recording that was sent in, as it was sent in.

        Args:
            job_id: A conversion or an upload of yours.

        Returns:
            The audio file.
        """
        with plain_errors():
            path = self._jobs.files.input_path(self._services.caller(request), plain_id(job_id, "job"))
            return FileData(path=hand_out(path, "input"))

    def _upload(self, files: list[FileData], purpose: str, request: gr.Request) -> Row:
        with plain_errors():
            caller = self._services.caller(request)
            row = self._jobs.upload(caller, received(files), purpose)
            return {"job_id": row["id"], "files": row["files"]}

    def _submit(self, request: gr.Request, kind: str, job_id: str, settings: Row | None, **voice: str) -> Row:
        with plain_errors():
            caller = self._services.caller(request)
            return self._services.submit(
                caller, kind, plain_id(job_id, "job"), {} if settings is None else settings, **voice
            )

    def _send_and_submit(
        self, request: gr.Request, files: list[FileData], kind: str, settings: Row | None, **voice: str
    ) -> Row:
        with plain_errors():
            caller = self._services.caller(request)
            return self._services.send_and_submit(
                caller, received(files), kind, {} if settings is None else settings, **voice
            )

    def _act(self, action: str, job_id: str, request: gr.Request) -> Row:
        with plain_errors():
            caller = self._services.caller(request)
            row: Row = getattr(self._jobs, action)(caller, plain_id(job_id, "job"))
            return row

    def _follow(self, row: Row, request: gr.Request) -> Iterator[Row]:
        with plain_errors():
            caller = self._services.caller(request)
            for now in self._jobs.follow(caller, row["id"]):
                yield self._services.with_result(caller, now)


class AccountEndpoints:
    """Endpoints about the caller, as bound methods."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._tokens = services.callers.tokens

    def account(self, request: gr.Request) -> Row:
        """Tell who you are to this server, and how much of its disk you use.

        Returns:
            user_id, admin, jobs_mb, voices_mb, and quota_mb (0: no limit).
        """
        with plain_errors():
            caller = self._services.caller(request)
            used = self._services.jobs.quota.used(caller.user_id)
            return {
                "user_id": caller.user_id,
                "admin": caller.admin,
                "jobs_mb": round(used.jobs / 1e6, 3),
                "voices_mb": round(used.voices / 1e6, 3),
                "quota_mb": self._services.settings.quota_mb_per_user,
            }

    def create_token(self, name: str, request: gr.Request) -> Row:
        """Make a personal token, with which a program acts in your name until you revoke it.

        Send it as the header "Authorization: Bearer TOKEN". A token itself cannot make tokens.

        Args:
            name: What you call it, for example the program that uses it.

        Returns:
            token (keep it: it is never shown again), id, name and created_at.
        """
        with plain_errors():
            token, row = create_token(self._services, request, name)
            return row | {"token": token}

    def list_tokens(self, request: gr.Request) -> Rows:
        """List your personal tokens, newest first; the tokens themselves are not kept.

        Returns:
            id, name, created_at and last_used_at of each.
        """
        with plain_errors():
            return self._tokens.list(self._services.caller(request).user_id)

    def revoke_token(self, token_id: str, request: gr.Request) -> Row:
        """End a personal token for good.

        Args:
            token_id: From list_tokens.

        Returns:
            The row of the token that is gone.
        """
        with plain_errors():
            caller = self._services.caller(request)
            return self._tokens.revoke(caller.user_id, plain_id(token_id, "token"))

    def delete_job(self, job_id: str, request: gr.Request) -> Row:
        """Delete a job that has ended, or an upload, with its files; voices that it made stay.

        Args:
            job_id: A job or an upload of yours.

        Returns:
            The row of the job that is gone.
        """
        with plain_errors():
            caller = self._services.caller(request)
            return self._services.jobs.remove(caller, plain_id(job_id, "job"))


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


class VoiceEndpoints:
    """Endpoints about voices, as bound methods."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._library = services.library

    def list_models(self, request: gr.Request) -> Rows:
        """List the voices that you may use.

        Returns:
            One row for each; its id is the model_id of the other endpoints.
        """
        with plain_errors():
            return self._library.list(self._services.caller(request))

    def get_model(self, model_id: str, request: gr.Request) -> Row:
        """Read what is known of a voice: pitch, engine, sample rate, scores, permission.

        Args:
            model_id: From list_models.

        Returns:
            The voice's row.
        """
        with plain_errors():
            return self._library.get(self._services.caller(request), plain_id(model_id, "voice"))

    def rename_model(self, model_id: str, model_name: str, request: gr.Request) -> Row:
        """Give a voice another name.

        Args:
            model_id: From list_models.
            model_name: The new name.

        Returns:
            The voice's row.
        """
        with plain_errors():
            caller = self._services.caller(request)
            return self._library.rename(caller, plain_id(model_id, "voice"), model_name)

    def delete_model(self, model_id: str, request: gr.Request) -> Row:
        """Delete a voice for good.

        Args:
            model_id: From list_models.

        Returns:
            The row of the voice that is gone.
        """
        with plain_errors():
            caller = self._services.caller(request)
            row = self._library.get(caller, plain_id(model_id, "voice"))
            self._library.delete(caller, row["id"])
            return row

    def model_stats(self, model_id: str, request: gr.Request) -> Row:
        """Read how much a voice was used.

        Args:
            model_id: From list_models.

        Returns:
            Times used, seconds converted and more.
        """
        with plain_errors():
            return self._library.stats(self._services.caller(request), plain_id(model_id, "voice"))

    def import_model(self, files: list[FileData], model_name: str, request: gr.Request) -> Row:
        """Add a voice that was trained elsewhere.

        Args:
            files: One .zip as export_model gives it, or the .pth of an RVC program, with its .index if you
                have it.
            model_name: What it shall be called; empty: as the files say.

        Returns:
            The voice's row.
        """
        with plain_errors():
            return self._services.take_in(self._services.caller(request), received(files), model_name)

    def export_model(self, model_id: str, request: gr.Request, format: str = "bundle") -> FileData:
        """Download a voice as one file, to keep it or to use it elsewhere.

        Args:
            model_id: From list_models.
            format: "bundle" (a zip that import_model reads), or for voices of the engine rvc also "rvc"
                (.pth and .index in a zip, as other RVC programs read them).

        Returns:
            The file.
        """
        with plain_errors():
            caller = self._services.caller(request)
            return FileData(path=self._services.export(caller, plain_id(model_id, "voice"), format))


class ServerEndpoints:
    """Endpoints about the server, as bound methods."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def health(self) -> Row:
        """Tell whether the server works: device, memory, disk, registry, queue, worker, version.

        Returns:
            status "ok" or "degraded", the reason, and the facts.
        """
        return health_of(self._services)

    def info(self) -> Row:
        """Tell what this server accepts and offers: version, limits, formats, settings.

        Returns:
            The facts by name.
        """
        return info_of(self._services)
