"""The slices that recordings were cut to: list them, hear them, and reject what shall not be learned."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

from gradio import FileData

from pipelines.store.records import Caller, Row
from ui.endpoints.registration import Endpoints, endpoint
from ui.server.published import publish_file
from ui.server.services import validate_id

Ids = list[str]


class ReviewEndpoints(Endpoints):
    @endpoint()
    def list_slices(  # noqa: PLR0913
        self,
        caller: Caller,
        job_id: str,
        sort: str = "doubt",
        only: str = "all",
        offset: int = 0,
        limit: int = 50,
    ) -> Row:
        """List the slices that recordings were cut to, with what speaks against learning from each.

        Answers {"slices", "seconds", "rejected", "rejected_s", "left_s", "doubtful", "matching", "offset",
        "rows"}. A row holds id, file, file_id, start_s and end_s (in its recording), seconds, level_db,
        snr_db, f0_hz, doubt (0..1), reasons (quiet, loud, noisy, clipped, low, high, pauses, voiceless,
        short, other_speaker), rejected, file_rejected and peaks (80 values of 0..255, its waveform).

        Args:
            job_id: From prepare_voice (when it is completed) or upload_training_audio.
            sort: "doubt" (the most doubtful first) or "order" (as recorded).
            only: "all", "doubtful" or "rejected".
            offset: How many rows to leave out at the beginning.
            limit: How many rows, at most 200.

        Returns:
            Figures of all slices, and the rows.
        """
        job_id = validate_id(job_id, "job")
        return self._jobs.reviews.list(caller, job_id, sort=sort, only=only, offset=offset, limit=limit)

    @endpoint()
    def slice_audio(self, caller: Caller, job_id: str, slice_id: str) -> FileData:
        """Download one slice, as it is learned: cleaned, at an even level.

        Args:
            job_id: As for list_slices.
            slice_id: The id of a row of list_slices.

        Returns:
            A FLAC file.
        """
        path = self._jobs.reviews.audio(caller, validate_id(job_id, "job"), slice_id)
        return FileData(path=publish_file(path, "slice"))

    @endpoint()
    def reject_slices(self, caller: Caller, job_id: str, slice_ids: Ids, files: Ids | None = None) -> Row:
        """Leave slices, or whole recordings, out of every training on this upload that begins from now on.

        It is kept with the upload, also when the recordings are prepared again; restore_slices undoes it. A
        training is refused when less than 10 s are left.

        Args:
            job_id: As for list_slices.
            slice_ids: Ids of rows of list_slices.
            files: Recordings to reject as a whole: their file_id, or what they are called.

        Returns:
            Figures as those of list_slices, and "changed": the ids of the slices that are out now.
        """
        return self._jobs.reviews.reject(caller, validate_id(job_id, "job"), slice_ids, files)

    @endpoint()
    def restore_slices(self, caller: Caller, job_id: str, slice_ids: Ids, files: Ids | None = None) -> Row:
        """Take back what reject_slices did; what comes back as a whole is as it was before it was rejected.

        Args:
            job_id: As for list_slices.
            slice_ids: Ids of rows of list_slices.
            files: Recordings to take back.

        Returns:
            Figures as those of list_slices, and "changed": the ids of the slices that are back.
        """
        return self._jobs.reviews.restore(caller, validate_id(job_id, "job"), slice_ids, files)
