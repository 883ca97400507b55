"""What is sent in: recordings of a voice or for it, and the report on them."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

from gradio import FileData

from pipelines.store.records import Caller, Row
from rvc.errors import UnknownNameError
from ui.endpoints.registration import Endpoints, Options, endpoint
from ui.look.marks_found import with_sentences
from ui.server.examples import example_files
from ui.server.reading import sentences
from ui.server.services import uploaded_files, validate_id


class RecordingEndpoints(Endpoints):
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
    def upload_song(self, caller: Caller, files: list[FileData]) -> Row:
        """Send in a song that shall be sung in another voice: one file, or its vocals and its backing.

        Answers {"job_id", "files"}: the id for start_cover, and what each file holds. Of two files the names
        say which is which (part: "vocals" or "backing"); they have the same rate and length.

        Args:
            files: One song; or two files, of which at least one is called vocals, backing, instrumental, ...

        Returns:
            job_id to use with start_cover, and files with what each one holds.
        """
        return self._upload(caller, files, "song")

    @endpoint()
    def is_synthetic(self, caller: Caller, file: FileData) -> Row:
        """Look for marks of synthetic sound in any recording: Timbre's watermark, a C2PA manifest, tags.

        That nothing is found proves nothing. The recording is not kept.

        Args:
            file: One audio file, or a video with sound; the first half hour of it is listened to.

        Returns:
            marked (whether anything says that it is synthetic) and a sentence; watermark, manifest and tags,
            each with found, what it says (sentence) and what that proves (proves).
        """
        return with_sentences(self._services.is_synthetic(caller, uploaded_files(file)))

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
        return self._services.submit(caller, "preprocessing", validate_id(job_id, "job"), settings)

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

    @endpoint()
    def example_recordings(self, caller: Caller) -> list[FileData]:
        """Download the recordings of a voice that come with Timbre, to try a training with.

        The voice is synthetic and ours: whoever trains it has our permission.

        Returns:
            The recordings, for upload_training_audio.
        """
        del caller
        return [FileData(path=path) for path in example_files()]

    @endpoint()
    def reading_sentences(self, language: str = "en") -> list[str]:
        """Read the sentences that hold the sounds of a language, to be spoken when a voice is recorded.

        Args:
            language: "ar", "de", "en", "es", "fr", "nl", "pt-BR" or "zh-Hans".

        Returns:
            Twenty sentences.
        """
        return sentences(language)

    def _upload(self, caller: Caller, files: list[FileData], purpose: str) -> Row:
        row = self._jobs.upload(caller, uploaded_files(files), purpose)
        return {"job_id": row["id"], "files": row["files"]}
