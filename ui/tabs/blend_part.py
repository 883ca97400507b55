"""Blending the chosen voice with others: with whom, how much of each, and under what name."""

from __future__ import annotations

from html import escape

import gradio as gr

from pipelines.store.records import Caller, Row, Rows
from pipelines.voices.blending import MOST, TWICE
from rvc.errors import ConfigError
from ui.look.html import ChoiceDropdown
from ui.look.language import tr
from ui.look.wording import shares_said, voice_labels
from ui.server.services import QUIET, Answer, Services, as_gr_error, validate_id, warn_of

NOBODY = ""
ALIKE = ("engine", "encoder", "sample_rate_hz", "uses_f0")  # of a row: in what blended voices agree


class BlendPart:
    """A folded part of a voice's card; hidden while there is no other voice like it.

    `choice` is what tells the chosen voice's id.
    """

    def __init__(self, services: Services, choice: gr.HTML) -> None:
        self._services = services
        self._choice = choice
        with gr.Accordion(
            "Blend with other voices", open=False, visible=False, elem_id="voice-blend"
        ) as self.part:
            gr.Markdown(
                "A new voice between this one and others. Its card names them, with what was stated of the "
                "right to use each."
            )
            self._rows = [self._lay_out_other(number) for number in range(1, MOST)]
            self.said = gr.HTML(elem_id="voice-blend-said", padding=False)
            self.name = gr.Textbox(label="Name of the new voice", max_length=80, elem_id="voice-blend-name")
            self.button = gr.Button("Blend", elem_id="voice-blend-make")
        fields = [field for _, *fields in self._rows for field in fields]
        self.inputs = {choice, self.name, *fields}
        self.drawn = [self.part, self.said, self.name, *(one for row in self._rows for one in row)]
        self._listen([*(row for row, _, _ in self._rows), *fields, self.said])

    def _lay_out_other(self, number: int) -> tuple[gr.Column, gr.Dropdown, gr.Slider]:
        with gr.Column(visible=number == 1) as row:
            other = ChoiceDropdown(
                [], value=None, label="Another voice", elem_id=f"voice-blend-other-{number}"
            )
            share = gr.Slider(
                1, 98, value=50, step=1, label="Its share, in percent", visible=False,
                elem_id=f"voice-blend-share-{number}",
            )  # fmt: skip
        return row, other, share

    def _listen(self, changed: list[gr.components.Component]) -> None:
        for _, other, share in self._rows:
            other.input(self.even_out, self.inputs, changed, queue=False, **QUIET)
            share.input(self.tell, self.inputs, self.said, queue=False, trigger_mode="always_last", **QUIET)

    def show(self, row: Row, rows: Rows) -> Answer:
        """Return the part as it is for a voice ({} for none) among all that there are, nobody chosen."""
        named = zip(voice_labels(rows), rows, strict=True)
        like = [(label, one["id"]) for label, one in named if row and _are_alike(row, one)]
        choices = [(tr("Nobody"), NOBODY), *like]
        answer: Answer = {self.part: gr.Accordion(visible=bool(like)), self.said: "", self.name: ""}
        for number, (column, other, share) in enumerate(self._rows):
            answer |= {
                column: gr.Column(visible=number == 0),
                other: gr.Dropdown(choices=choices, value=NOBODY),
                share: gr.Slider(visible=False),
            }
        return answer

    def even_out(self, values: Answer, request: gr.Request) -> Answer:
        """Give all the same share after one was added or taken away, and offer room for one more."""
        even = round(100 / (1 + sum(bool(values[other]) for _, other, _ in self._rows)))
        answer: Answer = {}
        before = True
        for column, other, share in self._rows:
            chosen = bool(values[other])
            answer[column] = gr.Column(visible=before or chosen)
            answer[share] = gr.Slider(visible=chosen, value=even)
            values[share], before = even, chosen
        return answer | self.tell(values, request)

    def tell(self, values: Answer, request: gr.Request) -> Answer:
        """Say what the blend is made of."""
        with as_gr_error():
            caller = self._services.caller(request)
            percents = self._percents(values)
            names = [self._services.library.get(caller, one)["model_name"] for one in percents]
        said = shares_said(zip(names, [percent / 100 for percent in percents.values()], strict=True))
        if len(percents) < 2:
            said = ""
        elif min(percents.values()) <= 0:
            said = tr("The shares of the others leave nothing of this voice; lower one.")
        return {self.said: f'<p class="tm-quiet" aria-live="polite">{escape(said)}</p>'}

    def apply(self, values: Answer, caller: Caller) -> Row | None:
        """Make the blend and return its row; None if nobody was chosen, which is said."""
        percents = self._percents(values)
        if len(percents) < 2:
            warn_of("Choose another voice to blend this one with.")
            return None
        shares = [percent / 100 for percent in percents.values()]
        return self._services.blend_voices(caller, list(percents), shares, values[self.name])

    def _percents(self, values: Answer) -> dict[str, float]:
        """Return the share of each chosen voice by id, the first of which has what the others leave."""
        chosen = [(values[other], values[share]) for _, other, share in self._rows if values[other]]
        ids = [validate_id(one, "voice") for one in (values[self._choice], *(other for other, _ in chosen))]
        if len(set(ids)) < len(ids):
            raise ConfigError(TWICE)
        try:
            others = [float(share or 0) for _, share in chosen]
        except (TypeError, ValueError) as error:
            raise ConfigError("One of the shares is no number; set it again.") from error
        return dict(zip(ids, [100 - sum(others), *others], strict=True))


def _are_alike(row: Row, other: Row) -> bool:
    return row["id"] != other["id"] and all(row.get(name) == other.get(name) for name in ALIKE)
