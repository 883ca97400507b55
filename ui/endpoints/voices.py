"""Voices: list, change, delete and bring back, in and out of files."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

from gradio import FileData

from pipelines.jobs.revoking import revoke_consent
from pipelines.store.records import Caller, Row, Rows
from pipelines.voices.permission import consent_recording, set_lock
from ui.endpoints.registration import Endpoints, endpoint
from ui.server.heard_examples import NAMES, example_files
from ui.server.published import publish_file
from ui.server.services import uploaded_files, validate_id

Pitch = str | float | Row


class VoiceEndpoints(Endpoints):
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
    def consent_sentence(self, caller: Caller, model_id: str, speaker: str) -> Row:
        """Give the sentence that a speaker reads aloud to allow the use of a voice; it holds today's date.

        Args:
            model_id: A voice of yours, from list_models.
            speaker: Who reads it, whose voice it is.

        Returns:
            sentence, in the language that you ask for (Accept-Language).
        """
        known = validate_id(model_id, "voice")
        return {"sentence": self._services.sentence_of_consent(caller, known, speaker)}

    @endpoint()
    def record_consent(self, caller: Caller, model_id: str, speaker: str, file: FileData) -> Row:
        """Keep a recording of consent_sentence with a voice; it is exported with it.

        It is checked for its sound and length, not for who speaks or what.

        Args:
            model_id: A voice of yours, from list_models.
            speaker: Who reads it, whose voice it is.
            file: One audio file of 3 to 120 seconds.

        Returns:
            The voice's row; consent.spoken says what is kept.
        """
        known = validate_id(model_id, "voice")
        return self._services.record_consent(caller, known, speaker, uploaded_files(file))

    @endpoint()
    def spoken_consent(self, caller: Caller, model_id: str) -> FileData:
        """Listen to the consent that was recorded for a voice.

        Args:
            model_id: From list_models, where consent.spoken is there.

        Returns:
            An MP3 file.
        """
        path = consent_recording(self._library, caller, validate_id(model_id, "voice"))
        return FileData(path=publish_file(path, "consent"))

    @endpoint()
    def lock_model(self, caller: Caller, model_id: str, locked: bool = True) -> Row:
        """Lock a voice against export, or take the lock off. Blends of a locked voice are locked too.

        Args:
            model_id: A voice of yours, from list_models.
            locked: false takes the lock off.

        Returns:
            The voice's row.
        """
        return set_lock(self._library, caller, validate_id(model_id, "voice"), locked)

    @endpoint()
    def revoke_consent(self, caller: Caller, model_id: str) -> Row:
        """Take a permission back: the voice, its exports, training and recordings go at once, for good.

        Args:
            model_id: A voice of yours, from list_models.

        Returns:
            model_id, model_name, removed, and remains: sentences on what cannot be undone.
        """
        return revoke_consent(self._jobs, caller, validate_id(model_id, "voice"))

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
    def blend_voices(self, caller: Caller, model_ids: list[str], shares: list[float], model_name: str) -> Row:
        """Make a new voice of two to four that agree in engine, version, sample rate and size.

        Its card names them as its parents, with their shares and what was stated of the right to use each.

        Args:
            model_ids: From list_models, each once.
            shares: For each voice how much of the blend it is, together 1.
            model_name: What it shall be called.

        Returns:
            The voice's row.
        """
        ids = [validate_id(one, "voice") for one in model_ids] if isinstance(model_ids, list) else []
        return self._services.blend_voices(caller, ids, shares, model_name)

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

    @endpoint()
    def voice_sample(self, caller: Caller, model_id: str) -> FileData:
        """Listen to a voice: some seconds of it as an MP3. A voice that was imported may have none.

        Args:
            model_id: From list_models, where has_sample is true.

        Returns:
            The file.
        """
        model_id = validate_id(model_id, "voice")
        row = self._library.get(caller, model_id)
        return FileData(path=publish_file(self._library.sample(caller, model_id), str(row["model_name"])))

    @endpoint()
    def list_examples(self, caller: Caller) -> Rows:
        """Hear what voices sound like before you send anything in: speech, a sung line and a whisper.

        Returns:
            name, model_id (null: the recording itself) and audio, a file.
        """
        voices = self._library.list(caller)
        return [
            {
                "name": name,
                "model_id": row and row["id"],
                "audio": FileData(path=publish_file(path, path.stem)).model_dump(),
            }
            for name in NAMES
            for row, path in example_files(name, voices)
        ]
