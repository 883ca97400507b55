"""Jobs: start them, look at them, stop and go on, and take what they made."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

from gradio import FileData

from pipelines.store.records import Caller, Row, Rows
from rvc.errors import ConfigError
from ui.endpoints.registration import Endpoints, Options, endpoint
from ui.server.published import publish_file
from ui.server.services import validate_id


class JobEndpoints(Endpoints):
    @endpoint()
    def start_training(self, caller: Caller, job_id: str, model_name: str, settings: Options = None) -> Row:
        """Start to train a voice; answers at once. The training goes on when you disconnect.

        With "steps": 0 the voice is there some seconds later, made without training; train_on then makes it
        better while it is used.

        settings may hold "consent": true (this is my voice, or I have permission to use it). Optional are
        total_steps, batch_size, patience, seed and reduce_noise; and "engine": "rvc" with version ("v1",
        "v2"), sample_rate_hz (32000, 40000, 48000), f0, f0_estimator, precision, gradient_checkpointing,
        from_scratch (random initial weights, where the pretrained ones cannot be had), gpus (how many compute
        each step together, 1 to 64; batch_size is that of all, and the voice that of one).

        Args:
            job_id: From upload_training_audio.
            model_name: What the voice shall be called.
            settings: "consent": true (this is my voice, or I have permission) is kept on its card;
                "stated_by" (who says so) and "language" too, a tag such as "nl-BE"; steps (or total_steps;
                0 for a voice without training), batch_size, patience and more.

        Returns:
            The job's row.
        """
        return self._services.submit(
            caller, "training", validate_id(job_id, "job"), settings, model_name=model_name
        )

    @endpoint()
    def estimate(
        self, caller: Caller, kind: str, seconds: float, settings: Options = None, model_id: str = ""
    ) -> float:
        """Say how long a job would take on this machine once it has its turn, by how long others took.

        Args:
            kind: "preprocessing" (the check of recordings), "training", "conversion", "speech", "batch" or
                "cover".
            seconds: Length of all its recordings together.
            settings: Those of the job; a training's engine and total_steps count most.
            model_id: The voice of a conversion, from list_models; empty for one of the built-in engine.

        Returns:
            Seconds. What waits ahead of it is not in them; a job's row tells that, as eta_s.
        """
        voice = self._library.get(caller, validate_id(model_id, "voice")) if model_id else {}
        return self._jobs.estimate(kind, seconds, settings, engine=voice.get("engine"))

    @endpoint()
    def start_conversion(self, caller: Caller, job_id: str, model_id: str, settings: Options = None) -> Row:
        """Start to convert a recording into a voice; answers at once.

        settings may hold transpose_semitones (automatic when absent), index_rate 0..1, protect 0..0.5,
        follow_loudness 0..1, reduce_noise (true: steady noise is taken out of the recording first) and format
        ("wav", "flac", "mp3" or "ogg"). The row's result tells source_snr_db: with less than 15 the recording
        is noisy.

        Args:
            job_id: From upload_target_audio.
            model_id: From list_models.
            settings: Optional: transpose_semitones, index_rate, protect, follow_loudness, reduce_noise and
                format.

        Returns:
            The job's row.
        """
        return self._services.submit(
            caller, "conversion", validate_id(job_id, "job"), settings, model_id=model_id
        )

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
    def start_cover(self, caller: Caller, job_id: str, model_id: str, settings: Options = None) -> Row:
        """Start to convert a song: its vocals are separated, converted in its own key, and mixed back.

        settings may hold those of start_conversion; transpose_semitones moves by whole octaves or not at all
        when absent. Besides voice_gain_db and backing_gain_db (-30..12), and reverb (0..1: how much of what
        rings after the original vocals is kept). download_audio gives the mix, download_stem its parts, and
        resume_job goes on where a job was stopped.

        Args:
            job_id: From upload_song.
            model_id: From list_models.
            settings: Those of start_conversion, and voice_gain_db, backing_gain_db, reverb.

        Returns:
            The job's row.
        """
        return self._services.submit(
            caller, "cover", validate_id(job_id, "job"), settings, model_id=validate_id(model_id, "voice")
        )

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
    def list_jobs(  # noqa: PLR0913  # one parameter for each thing that is asked
        self,
        caller: Caller,
        user_id: str = "",
        type: str = "",
        status: str = "",
        deleted: bool = False,
        archived: bool = False,
        search: str = "",
    ) -> Rows:
        """List your jobs, newest first; or, deleted, those that restore_job can still bring back.

        Or, archived, those that are so old that their files are gone; the last 200 of them.

        Args:
            user_id: Whose jobs; heeded for an admin only.
            type: preprocessing, training, conversion, speech, batch or cover; all when empty.
            status: For example completed or failed; all when empty.
            deleted: true for what was deleted within a day; purge_at says when each is gone.
            archived: true for what the clean-up has taken.
            search: Words that the names of an archived job's voice and recordings, or its error, must hold.

        Returns:
            The rows.
        """
        if archived is True:
            words = str(search or "")[:200]
            return self._jobs.archived.list(caller, words, user_id=user_id, type=type, status=status)
        return self._jobs.list(
            caller,
            user_id=user_id or None,
            type=type or None,
            status=status or None,
            deleted=deleted is True,
        )

    @endpoint()
    def cancel_job(self, caller: Caller, job_id: str) -> Row:
        """Stop a job; a training keeps what it has learned and can be resumed.

        One that was completed and trained on is completed again, with the voice that it had.

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
    def delete_job(self, caller: Caller, job_id: str, purge: bool = False) -> Row:
        """Delete a job that has ended, or an upload; voices that it made stay.

        restore_job brings it back within a day; until then its files count in your quota.

        Args:
            job_id: A job or an upload of yours.
            purge: true to delete it for good at once, with its files, also one that was deleted before.

        Returns:
            The row of the job that is gone.
        """
        return self._jobs.remove(caller, validate_id(job_id, "job"), purge=purge is True)

    @endpoint()
    def restore_job(self, caller: Caller, job_id: str) -> Row:
        """Bring back a job or an upload that was deleted within a day.

        Args:
            job_id: From list_jobs with deleted.

        Returns:
            The job's row.
        """
        return self._jobs.restore(caller, validate_id(job_id, "job"))

    @endpoint()
    def download_audio(self, caller: Caller, job_id: str) -> FileData:
        """Download what a job has converted: a recording, the mix of a song, or a zip of all of a batch.

        Args:
            job_id: A completed conversion or cover of yours, or a batch that has ended.

        Returns:
            An audio file that a browser can play, or a zip.
        """
        path = self._jobs.files.result_path(caller, validate_id(job_id, "job"))
        return FileData(path=publish_file(path, "converted"))

    @endpoint()
    def download_batch_file(self, caller: Caller, job_id: str, number: int) -> FileData:
        """Download one recording that a batch has converted; the others may still be under way.

        Args:
            job_id: A batch of yours.
            number: Its place among the files of the batch's row, from 1.

        Returns:
            An audio file that a browser can play.
        """
        _, made, _ = self._jobs.files.batch_file(caller, validate_id(job_id, "job"), number)
        return FileData(path=publish_file(made, made.stem))

    @endpoint()
    def download_stem(self, caller: Caller, job_id: str, stem: str) -> FileData:
        """Download one part of a song that was covered, as soon as it is there.

        Args:
            job_id: A cover of yours.
            stem: "vocals" (the original ones), "backing" (vocals and backing add up to the song) or "voice"
                (the vocals in the other voice, before they are mixed).

        Returns:
            An audio file.
        """
        path = self._jobs.files.stem_path(caller, validate_id(job_id, "job"), stem)
        return FileData(path=publish_file(path, stem))

    @endpoint()
    def pitch_contours(self, caller: Caller, job_id: str) -> Row:
        """Read the melodies of a conversion's source and result, as measured in the sound of both.

        Args:
            job_id: A completed conversion of yours, or a cover, of which it is the vocals'.

        Returns:
            source_hz and result_hz: one value every step_s of the first minute, null where there is no
            pitch; transpose_semitones: by how much it was moved.
        """
        return self._jobs.files.pitch_contours(caller, validate_id(job_id, "job"))

    @endpoint()
    def spectrograms(self, caller: Caller, job_id: str, against_id: str = "") -> FileData:
        """Draw the spectrograms of a conversion's source and result above each other, with their melodies.

        Args:
            job_id: A completed conversion of yours.
            against_id: Another one, whose result then takes the place of the source.

        Returns:
            A PNG of the first 20 seconds.
        """
        against = validate_id(against_id, "job") if against_id else None
        picture, shown = self._jobs.files.spectrograms(caller, validate_id(job_id, "job"), against)
        return FileData(path=publish_file(picture, "spectrograms", *shown))

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
