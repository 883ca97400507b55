"""The demonstration: the example voice trained and tried, by the same jobs as on the page.

    DATA_DIR/demo/source.<ext>      the recording as it is
    DATA_DIR/demo/converted.wav     the same in the example voice
    DATA_DIR/demo/spectrograms.png  both as pictures, one above the other

The voice is offered to everybody who opens the page of this data folder, and nobody can change it. Where
it is there already it is not trained again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.jobs import Jobs
from pipelines.rows import Caller
from pipelines.settings import Settings
from pipelines.spectrogram_picture import draw_conversion
from rvc.errors import ConfigError

Row = dict[str, Any]
Say = Callable[[str], None]

EXAMPLES = Path(__file__).resolve().parent.parent / "assets" / "examples"
VOICE_NAME = "Wren (demo)"
OWNER = Caller(user_id="demo", admin=False)
TELL_EVERY_S = 15.0

TRAINING_STEPS = 1_000
"""So many that two cores are done in less than eight minutes; a longer training gives a better voice."""


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What the demonstration made.

    Attributes:
        model_id: The voice.
        source: The recording as it is.
        converted: The recording in the voice.
        picture: Both as spectrograms.
        seconds: Seconds that each part took, by name.
    """

    model_id: str
    source: Path
    converted: Path
    picture: Path
    seconds: dict[str, float]


def run_demo(jobs: Jobs, settings: Settings, *, say: Say, steps: int = TRAINING_STEPS) -> Demonstration:
    """Train the example voice if it is not there yet, and convert the example recording with it.

    Args:
        jobs: The started dispatcher.
        settings: Names the data folder.
        say: Told what is done, a line at a time.
        steps: Training steps.

    Returns:
        What was made.

    Raises:
        ConfigError: A job did not come to its end; the sentence says why.
        AudioError: The example files are damaged.
    """
    folder = settings.data_dir / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    seconds: dict[str, float] = {}
    began = time.monotonic()
    model_id = _known_voice(jobs)
    if model_id:
        say(f"The voice {VOICE_NAME} is there already; it is used as it is.")
    else:
        model_id = _train(jobs, settings, say, steps)
        seconds["training"] = time.monotonic() - began
    began = time.monotonic()
    source, converted = _convert(jobs, model_id, folder, say)
    seconds["conversion"] = time.monotonic() - began
    began = time.monotonic()
    picture = folder / "spectrograms.png"
    draw_conversion(source, converted, picture, name=VOICE_NAME)
    seconds["picture"] = time.monotonic() - began
    say(f"Recording:    {source}")
    say(f"In the voice: {converted}")
    say(f"As pictures:  {picture}")
    say("Done: " + ", ".join(f"{part} {spent:.1f} s" for part, spent in seconds.items()) + ".")
    return Demonstration(
        model_id=model_id, source=source, converted=converted, picture=picture, seconds=seconds
    )


def _known_voice(jobs: Jobs) -> str | None:
    for row in jobs.registry.list("models", lambda row: row["model_name"] == VOICE_NAME and row["builtin"]):
        return str(row["id"])
    return None


def _train(jobs: Jobs, settings: Settings, say: Say, steps: int) -> str:
    files = sorted((EXAMPLES / "voice").glob("*.ogg"))
    upload = jobs.upload(OWNER, [(path, path.name) for path in files], "training")
    length_s = sum(file["seconds"] for file in upload["files"])
    say(f"Training {VOICE_NAME} on {len(files)} recordings, {length_s:.0f} s of speech, {steps} steps …")
    consent = {"statement": "A synthetic voice (flite, slt); see assets/examples/README.md"}
    wishes = {"total_steps": steps, "consent": consent}
    row = jobs.submit(OWNER, "training", upload["id"], model_name=VOICE_NAME, settings=wishes)
    row = _finished(jobs, row, say)
    report = jobs.report(OWNER, row["id"])
    if report and report.get("speech_s"):
        say(f"  {report['speech_s']:.0f} s of speech were usable.")
    model_id = str(row["model_id"])
    # Everybody sees a built-in voice, and nobody may rename or delete it.
    home = settings.data_dir / "models" / model_id
    jobs.registry.update("models", model_id, builtin=True, user_id=None, model_path=str(home))
    return model_id


def _convert(jobs: Jobs, model_id: str, folder: Path, say: Say) -> tuple[Path, Path]:
    example = next((EXAMPLES / "recordings").glob("*.flac"))
    upload = jobs.upload(OWNER, [(example, example.name)], "target")
    say(f"Converting {example.name}, {upload['files'][0]['seconds']:.1f} s, into {VOICE_NAME} …")
    # An admin, because the voice belongs to nobody in particular.
    caller = Caller(user_id=OWNER.user_id, admin=True)
    row = _finished(jobs, jobs.submit(caller, "conversion", upload["id"], model_id=model_id), say)
    result = row.get("result") or {}
    if result.get("transpose_semitones") is not None:
        say(f"  The melody was moved by {result['transpose_semitones']:+.1f} semitones to suit the voice.")
    source = folder / f"source{example.suffix}"
    converted = folder / "converted.wav"
    shutil.copyfile(jobs.input_path(OWNER, row["id"]), source)
    shutil.copyfile(jobs.result_path(OWNER, row["id"]), converted)
    return source, converted


def _finished(jobs: Jobs, job: Row, say: Say) -> Row:
    """Follow a job to its end, saying now and then where it is.

    Raises:
        ConfigError: It ended without a result.
    """
    began = told = time.monotonic()
    row = job
    for row in jobs.follow(OWNER, job["id"]):
        moment = time.monotonic()
        if moment - told >= TELL_EVERY_S:
            told = moment
            left = f", about {row['eta_s']:.0f} s left" if row.get("eta_s") else ""
            at = f"{moment - began:4.0f} s  {100 * row['progress']:3.0f} %"
            say(f"  {at}  {row['stage']} {row['message']}{left}")
    if row["status"] != "completed":
        raise ConfigError(
            f"The {row['type']} of the demonstration is {row['status']}"
            + (f": {row['error_message']}" if row["error_message"] else "; run it again.")
        )
    return row
