"""Calls that are followed as they go on: they give rows until the job ends."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

from collections.abc import Iterator

from gradio import FileData

from pipelines.store.records import Caller, Row
from ui.endpoints.registration import Endpoints, Options, endpoint
from ui.server.services import FOLLOWS, uploaded_files, validate_id


class FollowedEndpoints(Endpoints):
    @endpoint(**FOLLOWS)
    def follow_job(self, caller: Caller, job_id: str) -> Iterator[Row]:
        """Watch a job: its row at every change and at least every two seconds, until it ends.

        Args:
            job_id: Any job of yours.

        Returns:
            Job rows; the last has an ended status.
        """
        yield from self._follow(caller, validate_id(job_id, "job"))

    @endpoint(**FOLLOWS)
    def follow_jobs(self, caller: Caller, user_id: str = "") -> Iterator[Row]:
        """Watch all your jobs that have not ended, one after the other in the order in which they change.

        Args:
            user_id: Whose jobs; heeded for an admin only.

        Returns:
            Job rows, each when it has changed; ends when no job is waiting or running.
        """
        yield from self._services.changes(caller, user_id or None)

    @endpoint(**FOLLOWS)
    def train_voice(
        self, caller: Caller, files: list[FileData], model_name: str, settings: Options = None
    ) -> Iterator[Row]:
        """Send in recordings, train a voice and watch: one call for the whole way.

        Gives job rows as they change; the first holds the id, the last the voice as "model", each as
        "refused" the files that cannot be used. settings is that of start_training: with "steps": 0 the voice
        is made without training, some seconds after its recordings are there, and train_on makes it better
        while it is used. Closing the stream does not stop the training; cancel_job does.

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

    @endpoint(**FOLLOWS)
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

    @endpoint(**FOLLOWS)
    def cover_song(
        self, caller: Caller, files: list[FileData], model_id: str, settings: Options = None
    ) -> Iterator[Row]:
        """Send in a song, have it sung in a voice and watch: one call for the whole way.

        Gives job rows as they change; the first holds the id, the last the mix as "audio". files are those of
        upload_song, settings that of start_cover.

        Args:
            files: One song, or its vocals and its backing.
            model_id: From list_models.
            settings: As for start_cover.

        Returns:
            Job rows as they change; the last one has "audio" when it says "completed".
        """
        row = self._services.send_and_submit(
            caller, uploaded_files(files), "cover", settings, model_id=validate_id(model_id, "voice")
        )
        yield from self._follow(caller, row["id"])
