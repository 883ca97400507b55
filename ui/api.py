"""The named endpoints: what gradio_client, curl and other programs call.

Every endpoint is typed, answers JSON or a file, and tells who calls by the same rules as the page
(`ui.server.identity`). Its docstring is what "Use via API" shows. Parameter names are promises.
"""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import gradio as gr
from gradio import FileData

from pipelines.store.records import Caller, Row, Rows
from rvc.errors import ConfigError, UnknownNameError
from ui.server.monitoring import health_of, info_of
from ui.server.services import (
    START,
    TRAIN,
    WATCH,
    Services,
    as_gr_error,
    publish_file,
    throttle,
    uploaded_files,
    validate_id,
)
from ui.tabs.account import create_token

Method = Callable[..., Any]
Options = Row | None
Pitch = str | float | Row
QUEUES: dict[str, dict[str, Any]] = {}  # every endpoint's name -> what gr.api is told of its queue


def endpoint(**queue: object) -> Callable[[Method], Method]:
    """Make a method of `Endpoints` an endpoint of its name; its refusals are shown as `gr.Error`.

    A method that has a parameter `caller` is given who sent the request, one with `request` the request.
    """

    def register(method: Method) -> Method:
        signature = inspect.signature(method, eval_str=True)  # Gradio wants annotations as objects
        own, *others = signature.parameters.values()
        wanted = others.pop(0).name if others and others[0].name in ("caller", "request") else ""

        def called(self: Endpoints, request: gr.Request, *values: object) -> Any:  # noqa: ANN401
            if wanted == "caller":
                return method(self, self._services.caller(request), *values)
            return method(self, request, *values) if wanted else method(self, *values)

        @wraps(method)
        def answer(self: Endpoints, request: gr.Request, *values: object) -> Any:  # noqa: ANN401
            with as_gr_error():
                return called(self, request, *values)

        @wraps(method)
        def stream(self: Endpoints, request: gr.Request, *values: object) -> Iterator[Row]:
            with as_gr_error():
                yield from called(self, request, *values)

        shown: Any = stream if inspect.isgeneratorfunction(method) else answer
        request = own.replace(name="request", annotation=gr.Request)
        shown.__signature__ = signature.replace(parameters=[own, request, *others])
        shown.__annotations__ = {one.name: one.annotation for one in (request, *others)}
        QUEUES[method.__name__] = queue
        return shown

    return register


def add_endpoints(services: Services) -> None:
    """Add all endpoints to the page that is being built, in the order in which they stand here."""
    endpoints = Endpoints(services)
    for name, queue in QUEUES.items():
        gr.api(getattr(endpoints, name), api_name=name, **queue)


class Endpoints:
    """All endpoints of one server, as bound methods, in the order of the API page."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs
        self._library = services.library
        self._tokens = services.callers.tokens

    # --- recordings --------------------------------------------------------------------------------

    @endpoint()
    def upload_training_audio(self, caller: Caller, files: list[FileData]) -> Row:
        """Send in the recordings of a voice that shall be trained, or zips of them.

        Answers {"job_id", "files", "refused"}: the id for prepare_voice and start_training, what each
        recording holds, and name and reason of each file that cannot be used; the others go on without it.

        Args:
            files: Recordings of one person (WAV, FLAC, MP3, OGG, M4A, AAC, AIFF, WMA, videos with sound), and
                .zip files of them.

        Returns:
            job_id to use with prepare_voice and start_training, files with what each one holds, and refused.
        """
        row = self._jobs.upload(caller, uploaded_files(files), "training")
        return {"job_id": row["id"], "files": row["files"], "refused": row["refused"]}

    @endpoint()
    def upload_target_audio(self, caller: Caller, file: FileData) -> Row:
        """Send in one recording that shall be converted into another voice.

        Answers {"job_id", "files"}: the id for start_conversion, and what the file holds.

        Args:
            file: One audio file, or a video with sound.

        Returns:
            job_id to use with start_conversion, and files with what it holds.
        """
        return self._upload(caller, [file], "target")

    @endpoint()
    def validate_audio(self, caller: Caller, job_id: str) -> Row:
        """Measure what was sent in, without running any model.

        Args:
            job_id: From upload_training_audio or upload_target_audio.

        Returns:
            files: for each one its length, rate, channels, codec, noise, clipping, level and bandwidth, a
            verdict and the reason.
        """
        return self._jobs.files.validate(caller, validate_id(job_id, "job"))

    @endpoint()
    def prepare_voice(self, caller: Caller, job_id: str, settings: Options = None) -> Row:
        """Clean and cut the recordings and report on them, before any training.

        Args:
            job_id: From upload_training_audio.
            settings: Optional settings of the preparation.

        Returns:
            The row of the preparing job, at once; follow_job follows it, dataset_report reads its report.
        """
        return self._submit(caller, "preprocessing", job_id, settings)

    @endpoint()
    def dataset_report(self, caller: Caller, job_id: str) -> Row:
        """Read the report on a set of recordings: what is usable, what is not, and what would help.

        Args:
            job_id: From prepare_voice, start_training or upload_training_audio.

        Returns:
            The report.
        """
        report = self._jobs.files.report(caller, validate_id(job_id, "job"))
        if report is None:
            raise UnknownNameError("There is no report on these recordings yet; call prepare_voice first.")
        return report

    # --- jobs --------------------------------------------------------------------------------------

    @endpoint()
    def start_training(self, caller: Caller, job_id: str, model_name: str, settings: Options = None) -> Row:
        """Start to train a voice; answers at once. The training goes on when you disconnect.

        settings may hold "consent": true (this is my voice, or I have permission to use it). Optional are
        total_steps, batch_size, patience, seed and reduce_noise; and "engine": "rvc" with version ("v1",
        "v2"), sample_rate_hz (32000, 40000, 48000), f0, f0_estimator, precision, gradient_checkpointing,
        from_scratch (random initial weights, where the pretrained ones cannot be had).

        Args:
            job_id: From upload_training_audio.
            model_name: What the voice shall be called.
            settings: "consent": true (this is my voice, or I have permission) is kept on its card;
                total_steps, batch_size, patience and more.

        Returns:
            The job's row.
        """
        return self._submit(caller, "training", job_id, settings, model_name=model_name)

    @endpoint()
    def start_conversion(self, caller: Caller, job_id: str, model_id: str, settings: Options = None) -> Row:
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
        return self._submit(caller, "conversion", job_id, settings, model_id=model_id)

    @endpoint()
    def upload_batch_audio(self, caller: Caller, files: list[FileData]) -> Row:
        """Send in many recordings, or zips of them, that shall be converted into another voice.

        Answers {"job_id", "files"}: the id for start_batch, and per recording what it holds; one that
        cannot be used has status "failed" and a reason, and the others go on without it.

        Args:
            files: Audio files or videos with sound, and .zip files of them.

        Returns:
            job_id to use with start_batch, and files with what each one holds.
        """
        return self._upload(caller, files, "batch")

    @endpoint()
    def start_batch(self, caller: Caller, job_ids: list[str], model_id: str, settings: Options = None) -> Row:
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
        if not isinstance(job_ids, list):
            raise ConfigError("The job ids are not a list; give those of one or several uploads.")
        ids = [validate_id(job_id, "job") for job_id in job_ids]
        return self._services.submit_batch(caller, ids, settings, validate_id(model_id, "voice"))

    @endpoint()
    def job_status(self, caller: Caller, job_id: str) -> Row:
        """Read where a job stands.

        Args:
            job_id: Any job of yours.

        Returns:
            The job's row.
        """
        return self._jobs.get(caller, validate_id(job_id, "job"))

    @endpoint()
    def list_jobs(self, caller: Caller, user_id: str = "", type: str = "", status: str = "") -> Rows:
        """List your jobs, newest first.

        Args:
            user_id: Whose jobs; heeded for an admin only.
            type: preprocessing, training, conversion or batch; all when empty.
            status: For example completed or failed; all when empty.

        Returns:
            The rows.
        """
        return self._jobs.list(caller, user_id=user_id or None, type=type or None, status=status or None)

    @endpoint()
    def cancel_job(self, caller: Caller, job_id: str) -> Row:
        """Stop a job; a training keeps what it has learned and can be resumed.

        Args:
            job_id: A job of yours that has not ended.

        Returns:
            The job's row.
        """
        return self._jobs.cancel(caller, validate_id(job_id, "job"))

    @endpoint()
    def retry_job(self, caller: Caller, job_id: str) -> Row:
        """Run a failed, cancelled or interrupted job again from its start.

        Args:
            job_id: A job of yours that has ended without a result.

        Returns:
            The job's row.
        """
        return self._jobs.retry(caller, validate_id(job_id, "job"))

    @endpoint()
    def resume_job(self, caller: Caller, job_id: str) -> Row:
        """Go on with a cancelled, failed or interrupted job where it was last saved.

        Args:
            job_id: A job of yours that has ended without a result.

        Returns:
            The job's row.
        """
        return self._jobs.resume(caller, validate_id(job_id, "job"))

    @endpoint()
    def download_audio(self, caller: Caller, job_id: str) -> FileData:
        """Download the converted recording of a job, or a zip of all that a batch has converted.

        Args:
            job_id: A completed conversion of yours, or a batch that has ended.

        Returns:
            An audio file that a browser can play, or a zip.
        """
        path = self._jobs.files.result_path(caller, validate_id(job_id, "job"))
        return FileData(path=publish_file(path, "converted"))

    @endpoint()
    def export_training(self, caller: Caller, job_id: str) -> list[FileData]:
        """Download the training checkpoints of an RVC voice, from which other RVC programs train on.

        Args:
            job_id: A completed training of yours, of the engine rvc.

        Returns:
            G_<step>.pth, the generator, and D_<step>.pth, the discriminators, with their optimizers.
        """
        paths = self._jobs.files.training_checkpoints(caller, validate_id(job_id, "job"))
        return [FileData(path=publish_file(path, path.stem)) for path in paths]

    @endpoint()
    def download_input(self, caller: Caller, job_id: str) -> FileData:
        """Download the recording that was sent in, as it was sent in.

        Args:
            job_id: A conversion or an upload of yours.

        Returns:
            The audio file.
        """
        path = self._jobs.files.input_path(caller, validate_id(job_id, "job"))
        return FileData(path=publish_file(path, "input"))

    # --- voices ------------------------------------------------------------------------------------

    @endpoint()
    def list_models(self, caller: Caller, deleted: bool = False) -> Rows:
        """List the voices that you may use; or, deleted, those that restore_model can still bring back.

        Args:
            deleted: true for the voices that were deleted within a day; purge_at says when each is gone.

        Returns:
            One row for each; its id is the model_id of the other endpoints.
        """
        return self._library.list(caller, deleted=deleted is True)

    @endpoint()
    def get_model(self, caller: Caller, model_id: str) -> Row:
        """Read what is known of a voice: pitch, engine, sample rate, scores, permission.

        Args:
            model_id: From list_models.

        Returns:
            The voice's row.
        """
        return self._library.get(caller, validate_id(model_id, "voice"))

    @endpoint()
    def rename_model(self, caller: Caller, model_id: str, model_name: str) -> Row:
        """Give a voice another name.

        Args:
            model_id: From list_models.
            model_name: The new name.

        Returns:
            The voice's row.
        """
        return self._library.rename(caller, validate_id(model_id, "voice"), model_name)

    @endpoint()
    def set_voice_pitch(
        self, caller: Caller, model_id: str, pitch: Pitch = "", file: FileData | None = None
    ) -> Row:
        """Say where a voice lies, so that automatic pitch moves recordings there; for imported RVC voices.

        pitch is "low" (a median of 120 Hz, most men), "middle" (165 Hz), "high" (215 Hz, most women), a
        median in Hz, or {"median_hz", "low_hz", "high_hz"}. Or send a recording, in which it is measured.

        Args:
            model_id: A voice of yours, from list_models.
            pitch: A word, a median in Hz, or numbers by name; nothing when a file is sent.
            file: One audio file of the voice speaking.

        Returns:
            The voice's row; f0 says what is known now.
        """
        model_id = validate_id(model_id, "voice")
        return self._services.set_voice_pitch(caller, model_id, pitch, uploaded_files(file))

    @endpoint()
    def delete_model(self, caller: Caller, model_id: str, force: bool = False, purge: bool = False) -> Row:
        """Delete a voice. restore_model brings it back within a day; until then it counts in your quota.

        Refused while jobs wait for the voice or use it; with force they fail instead.

        Args:
            model_id: From list_models.
            force: true to delete it although jobs use it.
            purge: true to delete it for good at once, also one that was deleted before.

        Returns:
            The row of the voice that is gone.
        """
        return self._jobs.delete_voice(
            caller, validate_id(model_id, "voice"), force=force is True, purge=purge is True
        )

    @endpoint()
    def restore_model(self, caller: Caller, model_id: str) -> Row:
        """Bring back a voice that was deleted within a day.

        Args:
            model_id: From list_models with deleted.

        Returns:
            The voice's row; its name has a number if another voice of yours has its old one by now.
        """
        return self._jobs.restore_voice(caller, validate_id(model_id, "voice"))

    @endpoint()
    def model_stats(self, caller: Caller, model_id: str) -> Row:
        """Read how much a voice was used.

        Args:
            model_id: From list_models.

        Returns:
            Times used, seconds converted and more.
        """
        return self._library.stats(caller, validate_id(model_id, "voice"))

    @endpoint()
    def import_model(self, caller: Caller, files: list[FileData], model_name: str) -> Row:
        """Add a voice that was trained elsewhere.

        Args:
            files: One .zip as export_model gives it, or the .pth of an RVC program, with its .index if you
                have it.
            model_name: What it shall be called; empty: as the files say.

        Returns:
            The voice's row.
        """
        return self._services.import_voice(caller, uploaded_files(files), model_name)

    @endpoint()
    def export_model(self, caller: Caller, model_id: str, format: str = "bundle") -> FileData:
        """Download a voice as one file, to keep it or to use it elsewhere.

        Args:
            model_id: From list_models.
            format: "bundle" (a zip that import_model reads), or for voices of the engine rvc also "rvc"
                (.pth and .index in a zip, as other RVC programs read them).

        Returns:
            The file.
        """
        return FileData(path=self._services.export(caller, validate_id(model_id, "voice"), format))

    # --- one's own account -------------------------------------------------------------------------

    @endpoint()
    def account(self, caller: Caller) -> Row:
        """Tell who you are to this server, and how much of its disk you use.

        Returns:
            user_id, admin, jobs_mb, voices_mb, and quota_mb (0: no limit).
        """
        used = self._jobs.quota.used(caller.user_id)
        return {
            "user_id": caller.user_id,
            "admin": caller.admin,
            "jobs_mb": round(used.jobs / 1e6, 3),
            "voices_mb": round(used.voices / 1e6, 3),
            "quota_mb": self._services.settings.quota_mb_per_user,
        }

    @endpoint()
    def create_token(self, request: gr.Request, name: str) -> Row:
        """Make a personal token, with which a program acts in your name until you revoke it.

        Send it as the header "Authorization: Bearer TOKEN". A token itself cannot make tokens.

        Args:
            name: What you call it, for example the program that uses it.

        Returns:
            token (keep it: it is never shown again), id, name and created_at.
        """
        token, row = create_token(self._services, request, name)
        return row | {"token": token}

    @endpoint()
    def list_tokens(self, caller: Caller) -> Rows:
        """List your personal tokens, newest first; the tokens themselves are not kept.

        Returns:
            id, name, created_at and last_used_at of each.
        """
        return self._tokens.list(caller.user_id)

    @endpoint()
    def revoke_token(self, caller: Caller, token_id: str) -> Row:
        """End a personal token for good.

        Args:
            token_id: From list_tokens.

        Returns:
            The row of the token that is gone.
        """
        return self._tokens.revoke(caller.user_id, validate_id(token_id, "token"))

    @endpoint()
    def delete_job(self, caller: Caller, job_id: str) -> Row:
        """Delete a job that has ended, or an upload, with its files; voices that it made stay.

        Args:
            job_id: A job or an upload of yours.

        Returns:
            The row of the job that is gone.
        """
        return self._jobs.remove(caller, validate_id(job_id, "job"))

    # --- the server --------------------------------------------------------------------------------

    @endpoint()
    def health(self) -> Row:
        """Tell whether the server works: device, memory, disk, registry, queue, worker, version.

        Returns:
            status "ok" or "degraded", the reason, and the facts.
        """
        return health_of(self._services)

    @endpoint()
    def info(self) -> Row:
        """Tell what this server accepts and offers: version, limits, formats, settings.

        Returns:
            The facts by name.
        """
        return info_of(self._services)

    # --- followed as it goes on --------------------------------------------------------------------

    @endpoint(**WATCH)
    def follow_job(self, caller: Caller, job_id: str) -> Iterator[Row]:
        """Watch a job: its row at every change and at least every two seconds, until it ends.

        Args:
            job_id: Any job of yours.

        Returns:
            Job rows; the last has an ended status.
        """
        yield from self._follow(caller, validate_id(job_id, "job"))

    @endpoint(**WATCH)
    def follow_jobs(self, caller: Caller, user_id: str = "") -> Iterator[Row]:
        """Watch all your jobs that have not ended, one after the other in the order in which they change.

        Args:
            user_id: Whose jobs; heeded for an admin only.

        Returns:
            Job rows, each when it has changed; ends when no job is waiting or running.
        """
        yield from self._services.changes(caller, user_id or None)

    @endpoint(**TRAIN)
    def train_voice(
        self, caller: Caller, files: list[FileData], model_name: str, settings: Options = None
    ) -> Iterator[Row]:
        """Send in recordings, train a voice and watch: one call for the whole way.

        Gives job rows as they change; the first holds the id, the last the voice as "model", each as
        "refused" the files that cannot be used. settings is that of start_training. Closing the stream does
        not stop the training; cancel_job does.

        Args:
            files: Recordings of one person, and .zip files of them.
            model_name: What the voice shall be called.
            settings: As for start_training.

        Returns:
            Job rows as they change; the last one has "model" when it says "completed".
        """
        row = self._services.send_and_submit(
            caller, uploaded_files(files), "training", settings, model_name=model_name
        )
        yield from self._follow(caller, row["id"])

    @endpoint(**START)
    def convert_voice(
        self, caller: Caller, file: FileData, model_id: str, settings: Options = None
    ) -> Iterator[Row]:
        """Send in a recording, convert it and watch: one call for the whole way.

        Gives job rows as they change; the first holds the id, the last the converted file as "audio".
        settings is that of start_conversion.

        Args:
            file: One audio file, or a video with sound.
            model_id: From list_models.
            settings: As for start_conversion.

        Returns:
            Job rows as they change; the last one has "audio" when it says "completed".
        """
        row = self._services.send_and_submit(
            caller, uploaded_files([file]), "conversion", settings, model_id=model_id
        )
        yield from self._follow(caller, row["id"])

    def _upload(self, caller: Caller, files: list[FileData], purpose: str) -> Row:
        row = self._jobs.upload(caller, uploaded_files(files), purpose)
        return {"job_id": row["id"], "files": row["files"]}

    def _submit(self, caller: Caller, kind: str, job_id: str, settings: Options, **voice: str) -> Row:
        return self._services.submit(caller, kind, validate_id(job_id, "job"), settings, **voice)

    def _follow(self, caller: Caller, job_id: str) -> Iterator[Row]:
        # A row that lists thousands of recordings is half a megabyte.
        every_s = min(len(self._jobs.get(caller, job_id)["files"]) / 1_000, 1.0)
        for row in throttle(self._jobs.follow(caller, job_id), every_s):
            yield self._services.with_result(caller, row)
