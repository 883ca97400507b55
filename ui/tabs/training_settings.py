"""The expert settings of a training: components, and their values as the job's settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from rvc.errors import ConfigError
from rvc.training.settings import CHOICES

BUILT_IN, RVC = "lite", "rvc"
ENGINE_INFO = (
    "The built-in one takes minutes on a processor. RVC gives a voice that RVC programs read; it is for a "
    "GPU, downloads 600 MB of weights at first, and takes days without one."
)
KILOHERTZ = 1_000


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The components."""

    reduce_noise: gr.Checkbox
    steps: gr.Number
    engine: gr.Radio
    version: gr.Radio
    rate: gr.Radio
    f0: gr.Checkbox

    @property
    def inputs(self) -> list[Any]:
        """Components in the order that `settings_from` expects."""
        return [self.reduce_noise, self.steps, self.engine, self.version, self.rate, self.f0]


def training_settings() -> TrainingSettings:
    """Lay out the folded expert settings; their defaults are the right ones for most voices."""
    with gr.Accordion("Expert settings", open=False):
        reduce_noise = gr.Checkbox(
            label="Take steady noise out of the recordings",
            info="For hum and hiss only: it makes clean recordings duller.",
        )
        steps = gr.Number(
            label="Training steps at most",
            value=None,
            precision=0,
            minimum=1,
            elem_id="clone-steps",
            info="Leave empty: the length of the recordings decides, and training stops by itself "
            "when the voice no longer gets better.",
        )
        engine = gr.Radio(
            [("Built in", BUILT_IN), ("RVC", RVC)],
            value=BUILT_IN,
            label="Engine",
            info=ENGINE_INFO,
            elem_id="clone-engine",
        )
        with gr.Row(visible=False) as of_rvc:
            version = gr.Radio(list(CHOICES["version"]), value="v2", label="RVC version")
            rate = gr.Radio(
                [(f"{hz // KILOHERTZ} kHz", hz) for hz in CHOICES["sample_rate_hz"] if isinstance(hz, int)],
                value=40_000,
                label="Sample rate",
            )
            f0 = gr.Checkbox(value=True, label="Follows the melody", info="Needed for songs.")
    engine.change(
        lambda chosen: gr.Row(visible=chosen == RVC),
        engine,
        of_rvc,
        api_visibility="private",
        show_progress="hidden",
        queue=False,
    )
    return TrainingSettings(
        reduce_noise=reduce_noise, steps=steps, engine=engine, version=version, rate=rate, f0=f0
    )


def settings_from(values: Sequence[Any]) -> dict[str, Any]:
    """Return the job's settings for the values of the components; what is as always is left out.

    Args:
        values: Of `TrainingSettings.inputs`, in that order.

    Raises:
        ConfigError: A value is no number where one belongs.
    """
    reduce_noise, steps, engine, version, rate, f0 = values
    settings: dict[str, Any] = {"reduce_noise": True} if reduce_noise else {}
    try:
        if steps:
            settings["total_steps"] = int(steps)
        if engine != BUILT_IN:
            settings |= {"engine": str(engine), "version": str(version), "sample_rate_hz": int(rate)}
            settings["f0"] = bool(f0)
    except (TypeError, ValueError) as error:
        raise ConfigError("One of the expert settings is no number; set it again.") from error
    return settings
