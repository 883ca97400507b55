"""The expert settings of a conversion: components, and their values as the job's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from rvc.errors import ConfigError

AUTOMATIC = "Automatic"
BY_HAND = "By hand"


@dataclass(frozen=True, kw_only=True)
class ConversionSettings:
    """The components."""

    pitch: gr.Radio
    semitones: gr.Slider
    index_rate: gr.Slider
    protect: gr.Slider
    loudness: gr.Slider
    format: gr.Radio

    @property
    def inputs(self) -> list[Any]:
        """Components in the order that `settings_from` expects."""
        return [self.pitch, self.semitones, self.index_rate, self.protect, self.loudness, self.format]


def conversion_settings() -> ConversionSettings:
    """Lay out the folded expert settings; their defaults are the right ones for most recordings."""
    with gr.Accordion("Expert settings", open=False, elem_id="convert-expert"):
        pitch = gr.Radio(
            [AUTOMATIC, BY_HAND],
            value=AUTOMATIC,
            label="Pitch",
            info="Automatic moves the recording to where the voice usually speaks. For songs set it by hand: "
            "0 keeps the key, 12 is an octave up.",
        )
        semitones = gr.Slider(-24, 24, value=0, step=1, label="Transpose, in semitones", visible=False)
        index_rate = gr.Slider(
            0,
            1,
            value=0.3,
            step=0.05,
            label="Likeness from the recordings",
            info="How much of the voice's own sounds is looked up: more is closer to it, less is clearer.",
        )
        protect = gr.Slider(
            0,
            0.5,
            value=0.33,
            step=0.01,
            label="Likeness of breath and consonants",
            info="How much of that they get: 0.5 all of it; lower leaves them clearer, as they were spoken.",
        )
        loudness = gr.Slider(
            0,
            1,
            value=1,
            step=0.05,
            label="Follow the recording's loudness",
            info="1 keeps loud and soft as recorded, 0 speaks evenly.",
        )
        file_format = gr.Radio(["wav", "flac", "mp3", "ogg"], value="wav", label="File format")
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
    )


def settings_from(values: Sequence[Any]) -> dict[str, Any]:
    """Return the job's settings for the values of the components.

    Args:
        values: Of `ConversionSettings.inputs`, in that order.

    Raises:
        ConfigError: A value is no number where one belongs.
    """
    pitch, semitones, index_rate, protect, loudness, file_format = values
    try:
        return {
            "transpose_semitones": float(semitones) if pitch == BY_HAND else None,
            "index_rate": float(index_rate),
            "protect": float(protect),
            "follow_loudness": float(loudness),
            "format": str(file_format),
        }
    except (TypeError, ValueError) as error:
        raise ConfigError("One of the expert settings is no number; set it again.") from error
