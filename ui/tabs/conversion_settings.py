"""The expert settings of a conversion: components, and their values as the job's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from rvc.engine.options import ENGINES, LITE_DEFAULTS
from rvc.errors import ConfigError
from rvc.pitch.estimators import F0_ESTIMATORS
from ui.server.services import QUIET, Answer

AUTOMATIC = "Automatic"
BY_HAND = "By hand"

PITCH_INFO = (
    "Automatic moves the recording to where the voice usually speaks. For songs set it by hand: "
    "0 keeps the key, 12 is an octave up."
)
UNKNOWN_PITCH_INFO = (
    "Where this voice lies is not known, so Automatic keeps the recording's pitch until that is set on the "
    "Voices tab. Or move it by hand: 12 from a man to a woman, -12 the other way."
)
INDEX_INFO = "How much of the voice's own sounds is looked up: more is closer to it, less is clearer."
ESTIMATOR_INFO = (
    "Automatic takes what suits the voice: for RVC voices rmvpe, which hears through noise "
    "and music, if it is here or can be downloaded; else praat."
)
# By the name of the engine.
PROTECT_INFO = {
    "lite": "How much of that they get: 0.5 all of it; lower leaves them clearer, as they were spoken.",
    "rvc": "How much of that they get: 0.5 all of it; just below it half, and less the lower it is.",
}
LOUDNESS_INFO = {
    "lite": "1 keeps loud and soft as recorded, 0 speaks evenly.",
    "rvc": "1 keeps loud and soft as recorded, second by second; 0 leaves the voice its own loudness.",
}


class ConversionSettings:
    """The folded components; their defaults are the right ones for most recordings."""

    def __init__(self) -> None:
        lite = LITE_DEFAULTS
        with gr.Accordion("Expert settings", open=False, elem_id="convert-expert"):
            self.pitch = gr.Radio([AUTOMATIC, BY_HAND], value=AUTOMATIC, label="Pitch", info=PITCH_INFO)
            self.semitones = gr.Slider(
                -24, 24, value=0, step=1, label="Transpose, in semitones", visible=False
            )
            self.index_rate = _slider(1, lite.index_rate, 0.05, "Likeness from the recordings", INDEX_INFO)
            self.protect = _slider(
                0.5, lite.protect, 0.01, "Likeness of breath and consonants", PROTECT_INFO["lite"]
            )
            self.loudness = _slider(
                1, lite.follow_loudness, 0.05, "Follow the recording's loudness", LOUDNESS_INFO["lite"]
            )
            self.format = gr.Radio(["wav", "flac", "mp3", "ogg"], value="wav", label="File format")
            self.estimator = gr.Radio(
                [AUTOMATIC, *F0_ESTIMATORS], value=AUTOMATIC, label="Pitch is found by", info=ESTIMATOR_INFO
            )
        self.suited = [self.pitch, self.index_rate, self.protect, self.loudness]
        self.inputs = [*self.suited, self.semitones, self.format, self.estimator]
        self.pitch.change(
            lambda how: gr.Slider(visible=how == BY_HAND), self.pitch, self.semitones, queue=False, **QUIET
        )

    def suited_to(self, voice: Mapping[str, Any], shown_engine: str) -> Answer:
        """Suit the components of `suited` to a voice; `shown_engine`: whose defaults were set last."""
        engine = str(voice["engine"])
        pitch = {self.pitch: gr.Radio(info=PITCH_INFO if voice.get("f0") else UNKNOWN_PITCH_INFO)}
        if engine == shown_engine:
            return pitch  # what a person set stays until a voice of another engine is chosen
        defaults = ENGINES.get(engine, LITE_DEFAULTS)
        wording = engine if engine in PROTECT_INFO else "lite"
        return pitch | {
            self.index_rate: gr.Slider(value=defaults.index_rate),
            self.protect: gr.Slider(value=defaults.protect, info=PROTECT_INFO[wording]),
            self.loudness: gr.Slider(value=defaults.follow_loudness, info=LOUDNESS_INFO[wording]),
        }

    def settings(self, values: Answer) -> dict[str, Any]:
        """Return the job's settings for the values of `inputs`, by component."""
        by_hand, estimator = values[self.pitch] == BY_HAND, values[self.estimator]
        try:
            return {
                "transpose_semitones": _number(values[self.semitones]) if by_hand else None,
                "index_rate": _number(values[self.index_rate]),
                "protect": _number(values[self.protect]),
                "follow_loudness": _number(values[self.loudness]),
                "format": str(values[self.format]),
                "f0_estimator": None if estimator == AUTOMATIC else str(estimator),
            }
        except (TypeError, ValueError) as error:
            raise ConfigError("One of the expert settings is no number; set it again.") from error


def _number(value: Any) -> float | None:  # noqa: ANN401 -- whatever was sent
    """Return what a slider says; an emptied one means the default."""
    return None if value is None else float(value)


def _slider(most: float, value: float, step: float, label: str, info: str) -> gr.Slider:
    return gr.Slider(0, most, value=value, step=step, label=label, info=info)
