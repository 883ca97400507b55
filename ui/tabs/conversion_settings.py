"""The expert settings of a conversion: components, and their values as the job's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from rvc.engine.options import ENGINE_DEFAULTS, LITE_DEFAULTS
from rvc.errors import ConfigError
from rvc.pitch.estimators import F0_ESTIMATORS

AUTOMATIC = "Automatic"
BY_HAND = "By hand"

PITCH_INFO = (
    "Automatic moves the recording to where the voice usually speaks. For songs set it by hand: "
    "0 keeps the key, 12 is an octave up."
)
UNKNOWN_PITCH_INFO = (
    "Where this voice lies is not known, so Automatic keeps the recording's pitch. Set it by hand if that is "
    "too low or too high: 12 from a man to a woman, -12 the other way."
)

PROTECT_INFO = {
    "lite": "How much of that they get: 0.5 all of it; lower leaves them clearer, as they were spoken.",
    "rvc": "How much of that they get: 0.5 all of it; just below it half, and less the lower it is.",
}
LOUDNESS_INFO = {
    "lite": "1 keeps loud and soft as recorded, 0 speaks evenly.",
    "rvc": "1 keeps loud and soft as recorded, second by second; 0 leaves the voice its own loudness.",
}
"""By the name of the engine."""


@dataclass(frozen=True, kw_only=True)
class ConversionSettings:
    """The components."""

    pitch: gr.Radio
    semitones: gr.Slider
    index_rate: gr.Slider
    protect: gr.Slider
    loudness: gr.Slider
    format: gr.Radio
    estimator: gr.Radio

    @property
    def inputs(self) -> list[Any]:
        """Components in the order that `settings_from` expects."""
        return [
            self.pitch,
            self.semitones,
            self.index_rate,
            self.protect,
            self.loudness,
            self.format,
            self.estimator,
        ]

    @property
    def suited(self) -> list[Any]:
        """Components that depend on the voice, in the order of `suited_to`."""
        return [self.pitch, self.index_rate, self.protect, self.loudness]


def conversion_settings() -> ConversionSettings:
    """Lay out the folded expert settings; their defaults are the right ones for most recordings."""
    with gr.Accordion("Expert settings", open=False, elem_id="convert-expert"):
        pitch = gr.Radio(
            [AUTOMATIC, BY_HAND],
            value=AUTOMATIC,
            label="Pitch",
            info=PITCH_INFO,
        )
        semitones = gr.Slider(-24, 24, value=0, step=1, label="Transpose, in semitones", visible=False)
        index_rate = gr.Slider(
            0,
            1,
            value=LITE_DEFAULTS.index_rate,
            step=0.05,
            label="Likeness from the recordings",
            info="How much of the voice's own sounds is looked up: more is closer to it, less is clearer.",
        )
        protect = gr.Slider(
            0,
            0.5,
            value=LITE_DEFAULTS.protect,
            step=0.01,
            label="Likeness of breath and consonants",
            info=PROTECT_INFO["lite"],
        )
        loudness = gr.Slider(
            0,
            1,
            value=LITE_DEFAULTS.follow_loudness,
            step=0.05,
            label="Follow the recording's loudness",
            info=LOUDNESS_INFO["lite"],
        )
        file_format = gr.Radio(["wav", "flac", "mp3", "ogg"], value="wav", label="File format")
        estimator = gr.Radio(
            [AUTOMATIC, *F0_ESTIMATORS],
            value=AUTOMATIC,
            label="Pitch is found by",
            info="Automatic takes what suits the voice: for RVC voices rmvpe, which hears through noise "
            "and music, if it is here or can be downloaded; else praat.",
        )
    pitch.change(
        lambda how: gr.Slider(visible=how == BY_HAND),
        pitch,
        semitones,
        api_visibility="private",
        show_progress="hidden",
        queue=False,
    )
    return ConversionSettings(
        pitch=pitch,
        semitones=semitones,
        index_rate=index_rate,
        protect=protect,
        loudness=loudness,
        format=file_format,
        estimator=estimator,
    )


def suited_to(voice: Mapping[str, Any], shown_engine: str) -> list[Any]:
    """Suit the settings to a voice.

    Args:
        voice: Its public row.
        shown_engine: The engine whose defaults the settings had last.

    Returns:
        Updates of `ConversionSettings.suited`; what a person set stays until a voice of another engine is
        chosen.
    """
    engine = str(voice["engine"])
    info = PITCH_INFO if voice.get("f0") else UNKNOWN_PITCH_INFO
    if engine == shown_engine:
        return [gr.Radio(info=info), gr.skip(), gr.skip(), gr.skip()]
    defaults = ENGINE_DEFAULTS.get(engine, LITE_DEFAULTS)
    wording = engine if engine in PROTECT_INFO else "lite"
    return [
        gr.Radio(info=info),
        gr.Slider(value=defaults.index_rate),
        gr.Slider(value=defaults.protect, info=PROTECT_INFO[wording]),
        gr.Slider(value=defaults.follow_loudness, info=LOUDNESS_INFO[wording]),
    ]


def settings_from(values: Sequence[Any]) -> dict[str, Any]:
    """Return the job's settings for the values of the components.

    Args:
        values: Of `ConversionSettings.inputs`, in that order.

    Raises:
        ConfigError: A value is no number where one belongs.
    """
    pitch, semitones, index_rate, protect, loudness, file_format, estimator = values
    try:
        return {
            "transpose_semitones": float(semitones) if pitch == BY_HAND else None,
            "index_rate": float(index_rate),
            "protect": float(protect),
            "follow_loudness": float(loudness),
            "format": str(file_format),
            "f0_estimator": None if estimator == AUTOMATIC else str(estimator),
        }
    except (TypeError, ValueError) as error:
        raise ConfigError("One of the expert settings is no number; set it again.") from error
