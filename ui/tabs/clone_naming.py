"""The third step of the Clone tab: the voice's name and language, the permission, and how it is trained."""

from __future__ import annotations

from typing import Any

import gradio as gr

from pipelines.job_spec import CONSENT
from rvc.errors import ConfigError
from rvc.training.settings import CHOICES
from ui.look.fields import field_note, said
from ui.look.language import LANGUAGE, SOURCE, languages, tr
from ui.look.wording import in_round_numbers
from ui.server.examples import EXAMPLE_LANGUAGE, EXAMPLE_NAME
from ui.server.services import QUIET, Answer, Services

AT_ONCE = {"total_steps": 0}  # settings of a voice that is made without training
BUILT_IN, RVC = "lite", "rvc"
ENGINE_INFO = (
    "The built-in one takes minutes on a processor. RVC gives a voice that RVC programs read; it is for a "
    "GPU, takes days without one, and begins with pretrained weights: 600 MB are downloaded at first."
)
NO_RVC_INFO = (
    "RVC voices are not trained on this Space, which has a GPU for some seconds only: train them elsewhere "
    "and import them in the Voices tab. They do speak here."
)


class TrainingSettings:
    """The folded expert settings of a training; their defaults are the right ones for most voices."""

    def __init__(self, *, trains_rvc: bool) -> None:
        with gr.Accordion("Expert settings", open=False):
            self.reduce_noise = gr.Checkbox(
                label="Take steady noise out of the recordings",
                info="For hum and hiss only: it makes clean recordings duller.",
            )
            # No gr.Number: an empty one becomes 0 when the accordion is opened.
            self.steps = gr.Textbox(
                label="Training steps at most",
                placeholder="automatic",
                elem_id="clone-steps",
                info="Leave empty: the length of the recordings decides, and training stops by itself "
                "when the voice no longer gets better.",
            )
            self.engine = gr.Radio(
                [("Built in", BUILT_IN), *([("RVC", RVC)] if trains_rvc else [])],
                value=BUILT_IN,
                label="Engine",
                info=ENGINE_INFO if trains_rvc else NO_RVC_INFO,
                elem_id="clone-engine",
            )
            with gr.Column(visible=False) as of_rvc:
                rates = [(f"{hz // 1000} kHz", hz) for hz in CHOICES["sample_rate_hz"] if isinstance(hz, int)]
                with gr.Row():
                    self.version = gr.Radio(list(CHOICES["version"]), value="v2", label="RVC version")
                    self.rate = gr.Radio(rates, value=40_000, label="Sample rate")
                self.f0 = gr.Checkbox(value=True, label="Follows the melody", info="Needed for songs.")
                self.from_scratch = gr.Checkbox(
                    label="Random initial weights (from_scratch)",
                    info="Where the pretrained ones cannot be had: hours of recordings, days of a GPU.",
                    elem_id="clone-from-scratch",
                )
                self.gpus = gr.Textbox(
                    value="1",
                    label="GPUs",
                    info="So many compute each step together; the voice is the same.",
                    elem_id="clone-gpus",
                )
        self.engine.change(
            lambda chosen: gr.Column(visible=chosen == RVC), self.engine, of_rvc, queue=False, **QUIET
        )
        of_any = [self.reduce_noise, self.steps, self.engine]
        self.inputs = [*of_any, self.version, self.rate, self.f0, self.from_scratch, self.gpus]

    def settings(self, values: Answer) -> dict[str, Any]:
        """Return the job's settings for the values of `inputs`, by component; defaults are left out."""
        settings: dict[str, Any] = {"reduce_noise": True} if values[self.reduce_noise] else {}
        try:
            if steps := str(values[self.steps] or "").strip():
                settings["total_steps"] = int(steps)
            if values[self.engine] != BUILT_IN:
                settings |= {"engine": str(values[self.engine]), "version": str(values[self.version])}
                settings |= {"sample_rate_hz": int(values[self.rate]), "f0": bool(values[self.f0])}
                settings |= {"from_scratch": True} if values[self.from_scratch] else {}
                gpus = int(str(values[self.gpus] or "").strip() or 1)
                settings |= {"gpus": gpus} if gpus != 1 else {}
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError("One of the expert settings is no number; set it again.") from error
        return settings


class StartButtons:
    """How a voice is begun: at once and without training, or with it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.hear = gr.Button("Hear it now", variant="secondary", size="lg", elem_id="clone-hear-now")
        self.train = gr.Button("Train this voice", variant="primary", size="lg", elem_id="clone-train")
        self.both = [self.hear, self.train]

    def say_times(self, speech_s: float) -> Answer:
        """Return what they say when there is so much speech to learn from."""
        ready, trained = (
            self._services.jobs.estimate("training", speech_s, settings) if speech_s else 0.0
            for settings in (AT_ONCE, {})
        )
        hear, train = tr("Hear it now"), tr("Train this voice")
        if ready:
            hear = tr("Hear it now: about {time}", time=in_round_numbers(ready))
        if trained:
            train = tr("Train this voice: about {time}", time=in_round_numbers(trained))
        return {self.hear: gr.Button(hear), self.train: gr.Button(train)}


class NamingStep:
    """What is missing stands under its field, all of it at once, and is gone when it is mended."""

    def __init__(self, *, trains_rvc: bool) -> None:
        gr.HTML("<h2>Name and permission</h2>", padding=False)
        self.name = gr.Textbox(
            label="Name of the voice", placeholder="Anna", max_length=80, elem_id="clone-name"
        )
        self.no_name = field_note("clone-name")
        self.language = gr.Dropdown(
            choices=[(name, tag) for tag, name in languages().items()],
            value=SOURCE,
            allow_custom_value=True,
            label="Language that is spoken",
            info="It stands on the voice's card. If yours is not listed, type its tag, such as sv or pt-PT.",
            elem_id="clone-language",
        )
        self.consent = gr.Checkbox(label=CONSENT, elem_id="clone-consent")
        self.stated_by = gr.Textbox(
            label="Who states it",
            placeholder="First name and surname",
            info="It stands on the voice's card, with the date. Leave it empty to give no name.",
            max_length=80,
            elem_id="clone-stated-by",
        )
        self.example = gr.HTML(elem_id="clone-example-consent", elem_classes=["tm-note"], padding=False)
        self.no_consent = field_note("clone-consent")
        self.expert = TrainingSettings(trains_rvc=trains_rvc)
        self.no_files = field_note("clone-files")
        self.inputs = [self.name, self.language, self.consent, self.stated_by, *self.expert.inputs]
        self.of_files = [self.name, self.language, self.consent, self.example]  # what changes with the files
        self.notes = [self.no_name, self.no_consent, self.no_files]
        mended = {self.name: self.no_name, self.consent: self.no_consent}
        for field, note in mended.items():
            field.input(lambda: "", None, note, queue=False, **QUIET)

    def settings(self, values: Answer) -> dict[str, Any]:
        """Return the job's settings for the values of `inputs`, by component."""
        language = str(values[self.language] or "").strip()
        by = str(values[self.stated_by] or "").strip()
        stated = {"consent": True} | ({"language": language} if language else {})
        stated |= {"stated_by": by} if by else {}
        return stated | self.expert.settings(values)

    def missing(self, values: Answer, *, recordings: bool) -> Answer:
        """Return the notes on what a training lacks; all are empty if it lacks nothing."""
        named = bool((values[self.name] or "").strip())
        return {
            self.no_name: said("" if named else tr("Give the voice a name.")),
            self.no_consent: said(
                "" if values[self.consent] else tr("A voice is trained only with permission: tick this.")
            ),
            self.no_files: said("" if recordings else tr("Add recordings of the voice first, in step 1.")),
        }

    def of_example(self, *, used: bool) -> Answer:
        """Fill in what is known of the example recordings, or take it back when they are used no more."""
        told = tr(
            "The example is ours: a synthetic voice, recorded for this program. So the permission is given, "
            "and we have ticked it for you."
        )
        return {
            self.name: EXAMPLE_NAME if used else "",
            self.language: EXAMPLE_LANGUAGE if used else LANGUAGE.get(),
            self.consent: used,
            self.example: f'<p class="tm-quiet">{told}</p>' if used else "",
            **(dict.fromkeys(self.notes, "") if used else {}),
        }
