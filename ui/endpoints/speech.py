"""Texts that are spoken in a voice: one, watched or not, or a file of lines."""

# ruff: noqa: D417 -- `caller` comes from the request; the docstrings are for those who call from outside
from __future__ import annotations

from collections.abc import Iterator

from gradio import FileData

from pipelines.speech.synthesisers import languages
from pipelines.store.records import Caller, Row, Rows
from ui.endpoints.registration import Endpoints, Options, endpoint
from ui.server.services import FOLLOWS, uploaded_files, validate_id


class SpeechEndpoints(Endpoints):
    @endpoint()
    def speech_languages(self) -> Rows:
        """List the languages in which texts can be spoken here, and which synthesiser reads them aloud.

        Returns:
            For each its language (a tag), its English name, and synthesisers, the best first. Kokoro sounds
            natural; its weights (121 MB) are downloaded when they are first needed. espeak-ng sounds plain,
            and speaks where Kokoro cannot.
        """
        return languages()

    @endpoint()
    def start_speech(self, caller: Caller, text: str, model_id: str, settings: Options = None) -> Row:
        """Start to speak a text in a voice; answers at once.

        A synthesiser reads it aloud, sentence by sentence, and that is converted into the voice, at the
        voice's own pitch. settings may hold language ("en" when absent), speed 0.5..2, synthesiser, and what
        start_conversion takes.

        Args:
            text: What shall be said; at most 20,000 characters.
            model_id: From list_models.
            settings: Optional: language, speed, synthesiser, and those of start_conversion.

        Returns:
            The job's row; download_audio gives the recording, download_input the text.
        """
        return self._services.say(caller, text, settings, validate_id(model_id, "voice"))

    @endpoint(**FOLLOWS)
    def say_text(self, caller: Caller, text: str, model_id: str, settings: Options = None) -> Iterator[Row]:
        """Speak a text in a voice and watch: one call for the whole way.

        Gives job rows as they change; the first holds the id, the last the recording as "audio".

        Args:
            text: What shall be said; at most 20,000 characters.
            model_id: From list_models.
            settings: As for start_speech.

        Returns:
            Job rows as they change; the last one has "audio" when it says "completed".
        """
        row = self._services.say(caller, text, settings, validate_id(model_id, "voice"))
        yield from self._follow(caller, row["id"])

    @endpoint()
    def start_speech_batch(
        self, caller: Caller, file: FileData, model_id: str, settings: Options = None
    ) -> Row:
        """Start to speak every line of a text file in a voice, each as a sound file; answers at once.

        It is a batch: the row's "files" tell how each line fares, an empty one never stops the others, and
        download_audio gives a zip of the sound files, named after number and beginning of their lines, with
        a table.

        Args:
            file: A text file in UTF-8, one line for each sound file.
            model_id: From list_models.
            settings: As for start_speech.

        Returns:
            The job's row.
        """
        files, model_id = uploaded_files([file]), validate_id(model_id, "voice")
        return self._services.send_and_submit(caller, files, "lines", settings, model_id=model_id)
