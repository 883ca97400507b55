"""The child that speaks live: one speaker, from start to stop.

    python -m pipelines.live.child    what passes on stdin and stdout: wire.py; the log goes to stderr

    do start    the first of all: folder (where recordings go), rate_hz, delay ("default" | "low"), semitones
                (null: automatic), marks (whether what is spoken gets the watermark), signing (null, or
                home, key and certificate: the take gets a manifest), and of the voice model_folder, model_id,
                model_name
    do voice    model_folder, model_id, model_name: go on in another voice
    do pitch    semitones        do bypass   on        do talk   on
    do stop     give what is still to come, close the recordings, leave

    ready       rate_hz, block_ms, delay_ms: the voice is loaded, and sound may come
    voice       model_id, model_name, or message: another voice speaks, or why not
    state       once a second: microphone_db, sounding_db (peaks), block_ms, delay_ms, busy (share of the
                time), behind, lost_s, calibrated, semitones
    kept        said, made (names of files in the folder), seconds, semitones, and which voice: the last
    refused     message: a sentence; nothing follows

The end of stdin means that the server died: leave at once.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.conversion.load_voice import load_voice
from pipelines.events import Done
from pipelines.job_spec import Signing
from pipelines.live.session import PACES, Session, trial_pace
from pipelines.live.wire import SOUND, Unpacker, packed, words
from pipelines.logs import start_logging
from pipelines.marks.provenance import Provenance
from pipelines.marks.writing import ResultWriter
from pipelines.weights import weight_store
from rvc.audio.writer import AudioWriter
from rvc.errors import RvcError
from rvc.live.stream import Pace
from rvc.voice import Voice

logger = logging.getLogger("pipelines.live")
STATE_S = 1.0
BEFORE_OTHERS = -10  # niceness, where this process may have it
READ_BYTES = 1 << 16

Said = dict[str, Any]


class Line:
    """The line to the server; what it says waits in `heard` until somebody asks."""

    def __init__(self) -> None:
        # Whatever a library prints shall go to the log, not between the messages.
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self.heard: SimpleQueue[tuple[bytes, bytes]] = SimpleQueue()
        threading.Thread(target=self._listen, name="stdin", daemon=True).start()

    def say(self, **event: object) -> None:
        self._write(words(**event))

    def sound(self, wav: NDArray[np.float32]) -> None:
        samples = np.clip(np.rint(wav * 32_767), -32_768, 32_767).astype("<i2")
        self._write(packed(SOUND, samples.tobytes()))

    def _write(self, message: bytes) -> None:
        with suppress(OSError):
            while message:
                message = message[self._out.write(message) :]

    def _listen(self) -> None:
        unpacker = Unpacker()
        while data := os.read(0, READ_BYTES):
            for message in unpacker.push(data):
                self.heard.put(message)
        os._exit(0)


def loaded(said: Said) -> Voice:
    steps = load_voice(Path(said["model_folder"]), "praat", weight_store())
    voice: Voice = next(event.result.voice for event in steps if isinstance(event, Done))
    return voice


class Speaking:
    """A session at work: what was told is done, what was heard is spoken and written down."""

    def __init__(self, line: Line, start: Said) -> None:
        self._line, self._start = line, start
        self._voice = {name: start[name] for name in ("model_id", "model_name")}
        self._semitones: float | None = start["semitones"]
        self._next: SimpleQueue[tuple[Said, Voice, Pace]] = SimpleQueue()
        self._told_s = time.monotonic()
        voice = loaded(start)
        pace = trial_pace(voice, PACES[start["delay"]])
        marks = start.get("marks", False)
        self.session = Session(voice, pace, start["rate_hz"], self._semitones, marks=marks)
        folder, self._files = Path(start["folder"]), ExitStack()
        # Random names: Gradio serves a file to whoever knows its path.
        self._said_path, self._made_path = (folder / f"{secrets.token_hex(8)}.flac" for _ in range(2))

    def run(self) -> None:
        """Speak until told to stop."""
        rate_hz = self.session.rate_hz
        record = Provenance(
            voice_name=self._voice["model_name"],
            voice_id=self._voice["model_id"],
            settings={"live": True, "transpose_semitones": self._semitones},
            signing=Signing.from_json(self._start.get("signing")),
        )
        said = AudioWriter(self._said_path, rate_hz, "flac", bits=16)
        made = ResultWriter(self._made_path, rate_hz, "flac", record, bits=16, marked=True)
        with said, made:
            self._line.say(event="ready", rate_hz=rate_hz, **self._lateness())
            while self._listen(said):
                self._give(self.session.speak(), made)
            self._give(self.session.finish(), made)
        names = {"said": self._said_path.name, "made": self._made_path.name}
        semitones = self.session.stream.calibrator.now.semitones
        self._line.say(
            event="kept", **names, **self._voice, seconds=said.samples / rate_hz, semitones=semitones
        )

    def _give(self, spoken: Iterator[NDArray[np.float32]], made: ResultWriter) -> None:
        for wav in spoken:
            self._line.sound(wav)
            made.write(wav)

    def _listen(self, said: AudioWriter) -> bool:
        """Take what has come since, waiting for something; False when it is over."""
        with suppress(Empty):
            kind, content = self._line.heard.get(timeout=STATE_S / 4)
            while True:
                if kind == SOUND:
                    said.write(self.session.hear(content))
                elif not self._do(json.loads(content)):
                    return False
                kind, content = self._line.heard.get_nowait()
        self._change_voice()
        if time.monotonic() - self._told_s >= STATE_S:
            self._told_s = time.monotonic()
            self._line.say(event="state", **self._state())
        return True

    def _do(self, told: Said) -> bool:
        session, do = self.session, told["do"]
        if do == "pitch":
            self._semitones = told["semitones"]
            session.stream.calibrator.ask(self._semitones)
        elif do == "bypass":
            session.bypass = told["on"]
        elif do == "talk":
            session.talks = told["on"]
        elif do == "voice":
            threading.Thread(target=self._load, args=(told,), name="loading", daemon=True).start()
        return bool(do != "stop")

    def _load(self, told: Said) -> None:
        """Load another voice, while the first goes on speaking."""
        try:
            voice = loaded(told)
            pace = self.session.stream.pace
            if voice.card.engine != self.session.stream.voice.card.engine:
                pace = trial_pace(voice, PACES[self._start["delay"]])
            self._next.put((told, voice, pace))
        except RvcError as error:
            self._line.say(event="voice", message=str(error))
        except Exception:
            logger.exception("a voice could not be loaded")
            self._line.say(
                event="voice", message=f"{told['model_name']} cannot be loaded; choose another voice."
            )

    def _change_voice(self) -> None:
        with suppress(Empty):
            told, voice, pace = self._next.get_nowait()
            self.session.speak_with(voice, pace, self._semitones)
            self._voice = {name: told[name] for name in ("model_id", "model_name")}
            self._line.say(event="voice", **self._voice, **self._lateness())

    def _lateness(self) -> Said:
        pace = self.session.stream.pace
        return {"block_ms": 10 * pace.block, "delay_ms": round(1000 * self.session.delay_s)}

    def _state(self) -> Said:
        session, calibrator = self.session, self.session.stream.calibrator
        return {
            "microphone_db": session.microphone.read_db(),
            "sounding_db": session.sounding.read_db(),
            "busy": round(session.load.share, 2),
            "behind": session.behind,
            "lost_s": round(session.lost_samples / session.rate_hz, 2),
            "calibrated": calibrator.calibrated,
            "semitones": round(calibrator.now.semitones, 2),
            **self._lateness(),
        }


def main() -> int:
    """Run as a child of the server; return the exit status."""
    line = Line()
    level = os.environ.get("LOG_LEVEL", "INFO")
    start_logging("json" if os.environ.get("LOG_FORMAT") == "json" else "text", level, others=level)
    with suppress(OSError, AttributeError):
        os.nice(BEFORE_OTHERS)
    _, content = line.heard.get()
    try:
        speaking = Speaking(line, json.loads(content))
        gc.collect()
        gc.freeze()  # what is loaded is not looked at again
        speaking.run()
    except RvcError as error:
        line.say(event="refused", message=str(error))
    except Exception:
        # The one place that catches everything: the fault must cross the process to be seen.
        logger.exception("failed")
        line.say(event="refused", message="Live has failed through a fault of the program; start it again.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
