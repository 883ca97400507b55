"""Making what can be heard before anything is computed: examples, and a sample of each voice that ships.

    python -m pipelines.examples

    assets/examples/heard/<example>.mp3         the source: pieces of visitor.flac, spoken, sung by PSOLA,
                                                whispered by noise through the resonances of speech
    assets/examples/heard/<example>-<voice>.mp3 the same in a voice of assets/builtin/voices
    assets/builtin/voices/<voice>/sample.mp3    some seconds of a voice, for its card
The tune is the first line of the Ode to Joy (Beethoven, 1824).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import parselmouth
from numpy.typing import NDArray
from parselmouth.praat import call
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from pipelines.conversion.convert import convert
from pipelines.events import finish
from pipelines.marks.provenance import Provenance
from pipelines.voices.bundle import SAMPLE
from pipelines.voices.library import BUILTIN_PREFIX, BUILTIN_VOICES
from rvc.audio.reader import load_mono
from rvc.audio.writer import save
from rvc.engine.options import ConvertOptions
from rvc.files import ROOT
from rvc.voice import Voice

Wave = NDArray[np.float64]

EXAMPLES = ROOT / "assets" / "examples"
HEARD = EXAMPLES / "heard"
RECORDING = EXAMPLES / "recordings" / "visitor.flac"
RATE_HZ = 16_000
PEAK = 0.5
FADE_S = 0.02
SPOKEN_S, WHISPERED_S, SAMPLE_S = (0.15, 2.55), (2.62, 4.66), (4.76, 7.45)  # pieces of the recording

NOTE_S, LAST_NOTE_S = 0.36, 0.9
TUNE_HZ = tuple(
    440.0 * 2 ** ((note - 69) / 12) for note in (52, 52, 53, 55, 55, 53, 52, 50, 48, 48, 50)
)  # e e f g g f e d c c d
# Where each syllable of "you will hear the same words, the same melody" and its vowel begin, and that ends.
SYLLABLES_S = (
    (4.95, 4.99, 5.11), (5.13, 5.17, 5.31), (5.37, 5.44, 5.57), (5.60, 5.63, 5.69), (5.70, 5.85, 5.98),
    (6.01, 6.05, 6.30), (6.44, 6.54, 6.61), (6.67, 6.75, 6.92), (6.95, 7.01, 7.12), (7.13, 7.15, 7.22),
    (7.24, 7.27, 7.40),
)  # fmt: skip
SUNG_UNTIL_S = 7.45
VIBRATO_HZ, VIBRATO_SEMITONES = 5.5, 0.25
WHISPER_ORDER, WHISPER_FRAME, WHISPER_PRE_EMPHASIS = 18, 512, 0.9


def piece(wav: Wave, span_s: tuple[float, float]) -> Wave:
    """Cut a piece out, with its ends faded."""
    start, stop = (round(at * RATE_HZ) for at in span_s)
    cut, ramp = wav[start:stop].copy(), np.linspace(0, 1, round(FADE_S * RATE_HZ))
    cut[: ramp.size] *= ramp
    cut[-ramp.size :] *= ramp[::-1]
    return cut


def note_lengths_s() -> list[float]:
    return [NOTE_S] * (len(TUNE_HZ) - 1) + [LAST_NOTE_S]


def sung(wav: Wave) -> Wave:
    """Sing some syllables of the recording: each vowel is drawn out to its note, and moved to its pitch."""
    offset = SYLLABLES_S[0][0]
    sound = parselmouth.Sound(piece(wav, (offset, SUNG_UNTIL_S)), RATE_HZ)
    manipulation = call(sound, "To Manipulation", 0.01, 60, 300)
    pitch = call("Create PitchTier", "tune", 0, sound.duration)
    lengths = call("Create DurationTier", "beat", 0, sound.duration)
    ends = [start for start, *_ in SYLLABLES_S[1:]] + [SUNG_UNTIL_S]
    notes = zip(SYLLABLES_S, ends, TUNE_HZ, note_lengths_s(), strict=True)
    for (start, vowel, vowel_end), end, note_hz, note_s in notes:
        stretch = (note_s - (vowel - start) - (end - vowel_end)) / (vowel_end - vowel)
        for at, factor in ((start, 1.0), (vowel, stretch), (vowel_end, 1.0)):
            until = {start: vowel, vowel: vowel_end, vowel_end: end}[at]
            call(lengths, "Add point", at - offset + 1e-4, factor)
            call(lengths, "Add point", until - offset - 1e-4, factor)
        for at in np.arange(start, end, 0.002):
            slow_s = np.clip(at - vowel, 0, vowel_end - vowel) * stretch  # in the time of the song
            swell = VIBRATO_SEMITONES * np.clip((slow_s - 0.15) / 0.2, 0, 1)
            moved = swell * np.sin(2 * np.pi * VIBRATO_HZ * slow_s) / 12
            call(pitch, "Add point", at - offset, note_hz * 2**moved)
    call([pitch, manipulation], "Replace pitch tier")
    call([lengths, manipulation], "Replace duration tier")
    made: Wave = call(manipulation, "Get resynthesis (overlap-add)").values[0]
    return made


def whispered(wav: Wave) -> Wave:
    """Whisper a piece: noise through the resonances of the mouth, frame by frame as loud as it was spoken."""
    spoken = lfilter([1, -WHISPER_PRE_EMPHASIS], [1], piece(wav, WHISPERED_S))
    noise = np.random.default_rng(7).standard_normal(spoken.size)
    window, hop = np.hanning(WHISPER_FRAME), WHISPER_FRAME // 4
    made = np.zeros(spoken.size)
    for start in range(0, spoken.size - WHISPER_FRAME, hop):
        frame = spoken[start : start + WHISPER_FRAME] * window
        lags = np.correlate(frame, frame, "full")[WHISPER_FRAME - 1 :][: WHISPER_ORDER + 1]
        lags[0] = 1.0001 * lags[0] + 1e-9
        predictor = solve_toeplitz(lags[:-1], lags[1:])
        breath = lfilter([1], np.concatenate([[1], -predictor]), noise[start : start + WHISPER_FRAME])
        level = np.sqrt(np.mean(frame**2) / np.mean((breath * window) ** 2))
        made[start : start + WHISPER_FRAME] += breath * window * level * window
    return made


def spoken(wav: Wave) -> Wave:
    return piece(wav, SPOKEN_S)


# By the example's name: how it is made, and how far its melody is moved (None: as the engine finds).
KINDS: dict[str, tuple[Callable[[Wave], Wave], float | None]] = {
    "speech": (spoken, None),
    "song": (sung, 0.0),
    "whisper": (whispered, None),
}


def make_examples(heard: Path = HEARD, voices: Path = BUILTIN_VOICES) -> list[Path]:
    """Make all files anew and return them."""
    recorded, _ = load_mono(RECORDING)
    wav = recorded.astype(np.float64)
    heard.mkdir(parents=True, exist_ok=True)
    sources = {name: make(wav) for name, (make, _) in KINDS.items()}
    made = []
    for name, source in sources.items():
        made.append(heard / f"{name}.mp3")
        save(made[-1], _leveled(source), RATE_HZ)
    for folder in sorted(path.parent for path in voices.glob("*/card.json")):
        voice = Voice.load(folder)
        orders = [(sources[name], heard / f"{name}-{folder.name}.mp3", KINDS[name][1]) for name in KINDS]
        orders.append((piece(wav, SAMPLE_S), folder / SAMPLE, None))
        for source, path, semitones in orders:
            _convert(source, path, folder.name, voice, semitones)
            made.append(path)
    return made


def _convert(source: Wave, path: Path, voice_id: str, voice: Voice, semitones: float | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "source.wav"
        save(recording, _leveled(source), RATE_HZ, bits=32)
        options = ConvertOptions(transpose_semitones=semitones, format="mp3")
        record = Provenance(voice_name=voice.card.name, voice_id=BUILTIN_PREFIX + voice_id, watermark=True)
        finish(convert(recording, path, voice, options, record=record))


def _leveled(wav: Wave) -> NDArray[np.float32]:
    return (PEAK * wav / np.abs(wav).max()).astype(np.float32)


if __name__ == "__main__":
    for path in make_examples():
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.1f} kB")  # noqa: T201 -- a script
