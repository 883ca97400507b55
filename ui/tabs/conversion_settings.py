"""How a recording is converted: presets, the pitch, what is folded; their values as the job's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from pipelines.store.records import Row
from rvc.engine.options import ENGINES, LITE_DEFAULTS
from rvc.errors import ConfigError
from rvc.pitch.estimators import F0_ESTIMATORS
from ui.look.html import ChoiceList
from ui.look.language import tr
from ui.look.pitch_words import moved_by
from ui.server.services import QUIET, Answer

SPEECH, SONG, UP, DOWN = "speech", "song", "up", "down"
PRESETS = [
    ("Speech", SPEECH),
    ("Song in its own key", SONG),
    ("Octave up", UP),
    ("Octave down", DOWN),
]
SEMITONES = {SPEECH: None, SONG: 0, UP: 12, DOWN: -12}  # None: automatic
AUTOMATIC = "Automatic"
INDEX_INFO = (
    "How much of the voice's own sounds is looked up in its recordings: more is closer to the voice, less is "
    "clearer. RVC programs call it retrieval, or the index rate."
)
# By the name of the engine.
PROTECT_INFO = {
    "lite": "How much of that breath and consonants get: 0.5 all of it; lower leaves them clearer, as they "
    "were spoken. RVC programs call it protect.",
    "rvc": "How much of that breath and consonants get: 0.5 all of it; just below it half, and less the "
    "lower it is. RVC programs call it protect.",
}
LOUDNESS_INFO = {
    "lite": "1 keeps loud and soft as recorded, 0 speaks evenly.",
    "rvc": "1 keeps loud and soft as recorded, second by second; 0 leaves the voice its own loudness.",
}
ESTIMATOR_INFO = (
    "Who listens for the melody. Praat is quick, and right for a clean recording. RMVPE is a network that "
    "hears through noise and music; it is downloaded when it is first needed. Automatic takes what suits the "
    "voice."
)
NAMES = {"swift": "SwiftF0 and Praat", "praat": "Praat", "rmvpe": "RMVPE"}
FORMATS = [
    ("WAV (nothing lost, largest)", "wav"),
    ("FLAC (nothing lost)", "flac"),
    ("MP3 (small)", "mp3"),
    ("OGG (small)", "ogg"),
]


class ConversionSettings:
    """The components; their defaults are the right ones for most recordings."""

    def __init__(self) -> None:
        lite = LITE_DEFAULTS
        self.preset = ChoiceList(
            PRESETS, value=SPEECH, label="What do you convert?", elem_id="convert-preset"
        )
        with gr.Group(elem_id="convert-pitch"):
            self.semitones = gr.Slider(
                -24, 24, value=0, step=1, label="Pitch, in semitones", elem_id="convert-semitones"
            )
            self.automatic = gr.Checkbox(True, label="Automatic pitch", elem_id="convert-automatic")
            self.said = gr.HTML(pitch_said(automatic=True, semitones=0), elem_id="convert-pitch-said")
        with gr.Accordion("More settings", open=False, elem_id="convert-expert"):
            self.index_rate = _slider(1, lite.index_rate, 0.05, "Likeness from the recordings", INDEX_INFO)
            self.protect = _slider(
                0.5, lite.protect, 0.01, "Likeness of breath and consonants", PROTECT_INFO["lite"]
            )
            self.loudness = _slider(
                1, lite.follow_loudness, 0.05, "Follow the recording's loudness", LOUDNESS_INFO["lite"]
            )
            self.clean = gr.Checkbox(
                label="Clean the recording first",
                info="Takes steady noise, such as hiss or a fan, out of it before it is converted. It makes "
                "a clean recording duller.",
                elem_id="convert-clean",
            )
            self.format = gr.Radio(FORMATS, value="wav", label="File format")
            self.estimator = gr.Radio(
                [
                    (AUTOMATIC, AUTOMATIC),
                    *((NAMES.get(name, name), name) for name in F0_ESTIMATORS),
                ],
                value=AUTOMATIC,
                label="Pitch is found by",
                info=ESTIMATOR_INFO,
            )
        self.suited = [self.said, self.index_rate, self.protect, self.loudness]
        self.inputs = [
            *(self.automatic, self.semitones, self.index_rate, self.protect, self.loudness),
            *(self.clean, self.format, self.estimator),
        ]

    def listen(self, knows_pitch: gr.State) -> None:
        """Say what the pitch does while it is set; `knows_pitch`: whether the voice's own is known."""
        pitch = [self.automatic, self.semitones, knows_pitch]
        self.semitones.input(
            lambda semitones: {
                self.automatic: False,
                self.preset: None,
                self.said: pitch_said(automatic=False, semitones=semitones),
            },
            self.semitones,
            [self.automatic, self.preset, self.said],
            queue=False,
            trigger_mode="always_last",
            **QUIET,
        )
        self.automatic.input(
            lambda automatic, semitones, known: {
                self.preset: SPEECH if automatic else None,
                self.said: pitch_said(automatic=automatic, semitones=semitones, known=known),
            },
            pitch,
            [self.preset, self.said],
            queue=False,
            **QUIET,
        )

    def suited_to(
        self, voice: Mapping[str, Any], shown_engine: str, *, automatic: bool, semitones: float | None
    ) -> Answer:
        """Suit the components of `suited` to a voice; `shown_engine`: whose defaults were set last."""
        engine, known = str(voice["engine"]), bool(voice.get("f0"))
        said = {self.said: pitch_said(automatic=automatic, semitones=semitones, known=known)}
        if engine == shown_engine:
            return said  # what a person set stays until a voice of another engine is chosen
        defaults = ENGINES.get(engine, LITE_DEFAULTS)
        wording = engine if engine in PROTECT_INFO else "lite"
        return said | {
            self.index_rate: gr.Slider(value=defaults.index_rate),
            self.protect: gr.Slider(value=defaults.protect, info=PROTECT_INFO[wording]),
            self.loudness: gr.Slider(value=defaults.follow_loudness, info=LOUDNESS_INFO[wording]),
        }

    def at_pitch(self, semitones: float | None, *, known: bool = True) -> Answer:
        """Return what sets the pitch; None: automatic."""
        automatic = semitones is None
        return {
            self.automatic: automatic,
            self.semitones: semitones or 0,
            self.said: pitch_said(automatic=automatic, semitones=semitones, known=known),
        }

    def put(self, settings: Row, engine: str, *, known: bool = True) -> Answer:
        """Return what sets all components to a job's settings; what is not in them, to the engine's own."""
        defaults = ENGINES.get(engine, LITE_DEFAULTS)

        def asked(name: str) -> Any:  # noqa: ANN401 -- a number
            value = settings.get(name)
            return getattr(defaults, name) if value is None else value

        return self.at_pitch(settings.get("transpose_semitones"), known=known) | {
            self.preset: None,
            self.index_rate: asked("index_rate"),
            self.protect: asked("protect"),
            self.loudness: asked("follow_loudness"),
            self.clean: bool(settings.get("reduce_noise")),
            self.format: settings.get("format") or "wav",
            self.estimator: settings.get("f0_estimator") or AUTOMATIC,
        }

    def settings(self, values: Answer) -> dict[str, Any]:
        """Return the job's settings for the values of `inputs`, by component."""
        estimator = values[self.estimator]
        try:
            return {
                "transpose_semitones": None if values[self.automatic] else _number(values[self.semitones]),
                "index_rate": _number(values[self.index_rate]),
                "protect": _number(values[self.protect]),
                "follow_loudness": _number(values[self.loudness]),
                "reduce_noise": True if values[self.clean] else None,
                "format": str(values[self.format]),
                "f0_estimator": None if estimator == AUTOMATIC else str(estimator),
            }
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError("One of the settings is no number; set it again.") from error


def preset_choices(presets: Sequence[Row]) -> list[tuple[str, str]]:
    """Return the choices of the radio: ours, and those that were saved, by what `chosen_preset` reads."""
    ours = [
        (tr("Speech"), SPEECH),
        (tr("Song in its own key"), SONG),
        (tr("Octave up"), UP),
        (tr("Octave down"), DOWN),
    ]
    return ours + [
        (str(preset["name"]), f"{'voice' if preset['model_id'] else 'own'}:{preset['name']}")
        for preset in presets
    ]


def chosen_preset(value: object) -> tuple[str, bool] | None:
    """Return the name of a saved preset, and whether it is the voice's; None for one of ours, or none."""
    kind, found, name = str(value or "").partition(":")
    return (name, kind == "voice") if found else None


def pitch_said(*, automatic: bool, semitones: object, known: bool = True) -> str:
    """Return what becomes of a recording's pitch, as HTML."""
    if not automatic:
        said = moved_by(semitones)
    elif known:
        said = tr(
            "Automatic: speech is moved to where the voice usually speaks; a song keeps its key, or moves by "
            "whole octaves if the voice is far away. Move the slider to set it by hand."
        )
    else:
        said = tr(
            "Where this voice lies is not known, so Automatic keeps the recording's pitch until that is set "
            "on the Voices tab. Or move the slider: 12 from a man to a woman, -12 the other way."
        )
    return f'<p class="tm-quiet" aria-live="polite">{said}</p>'


def _number(value: Any) -> float | None:  # noqa: ANN401 -- whatever was sent
    """Return what a slider says; an emptied one means the default."""
    return None if value is None else float(value)


def _slider(most: float, value: float, step: float, label: str, info: str) -> gr.Slider:
    return gr.Slider(0, most, value=value, step=step, label=label, info=info)
