"""What the Clone tab's steps show as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

import gradio as gr

from ui.look.html import bullets, card, chip, empty_card, job_card, paragraph, pressed_as, refused_list
from ui.look.language import tr
from ui.look.wording import Row, decimal, duration

# Seconds of speech from which a voice can be tried, is good, and has what it can use.
TO_TRY_S, GOOD_S, ENOUGH_S = 120.0, 600.0, 1_800.0


def how_to_record() -> str:
    """Return what makes good recordings, for who has added none yet."""
    return card(
        tr("Good recordings make a good voice"),
        bullets(
            [
                tr("One person only, no music and no other voices in the background."),
                tr("Two minutes will do to try it out; ten are better, and different moods help."),
                tr("A quiet room and a steady distance to the microphone count more than the microphone."),
                tr("Sound files, videos or a .zip: as many as you like. Pauses are cut out for you."),
            ]
        ),
        tone="empty",
    )


def no_recordings() -> str:
    return empty_card(
        tr("No recordings yet"),
        tr("Add them in step 1; they are checked at once, and what was found appears here."),
    )


def no_training() -> str:
    return empty_card(
        tr("No training yet"),
        tr("Start one in step 3. While it learns you can hear here what it has learned so far."),
    )


def minutes_meter(seconds: float) -> str:
    """Return how much speech there is, on a scale with marks at what it is enough for.

    The three marks stand at thirds: on a scale of minutes the first would be at its very beginning.
    """
    marks = [(TO_TRY_S, tr("2 min: to try")), (GOOD_S, tr("10 min: good")), (ENOUGH_S, tr("30 min: enough"))]
    told = _told_of(seconds)
    names = "".join(
        f'<span class="{"tm-reached" if seconds >= from_s else ""}">{escape(name)}</span>'
        for from_s, name in marks
    )
    return (
        f'<div class="tm-meter"><div class="tm-row"><strong>{escape(tr("Speech so far"))}</strong>'
        f"<span>{escape(told)}</span></div>"
        f'<div class="tm-bar" role="meter" aria-label="{escape(tr("Speech so far"))}" aria-valuemin="0" '
        f'aria-valuemax="{ENOUGH_S / 60:.0f}" aria-valuenow="{min(seconds, ENOUGH_S) / 60:.1f}" '
        f'aria-valuetext="{escape(told)}"><div style="width:{100 * _share(seconds):.0f}%"></div></div>'
        f'<div class="tm-marks tm-quiet" aria-hidden="true">{names}</div></div>'
    )


def _share(seconds: float) -> float:
    since_s, share = 0.0, 0.0
    for until_s in (TO_TRY_S, GOOD_S, ENOUGH_S):
        share += min(max(seconds - since_s, 0.0) / (until_s - since_s), 1.0) / 3
        since_s = until_s
    return share


def _told_of(seconds: float) -> str:
    length = duration(seconds)
    if seconds <= 0:
        return tr("none yet")
    if seconds < TO_TRY_S:
        return tr("{length}: two minutes are enough to try it", length=length)
    if seconds < GOOD_S:
        return tr("{length}: enough to try it, ten minutes are good", length=length)
    if seconds < ENOUGH_S:
        return tr("{length}: good, thirty minutes are all it can use", length=length)
    return tr("{length}: all it can use", length=length)


def kept_recordings(names: list[str]) -> str:
    """Return which recordings of an earlier visit are still there."""
    shown = ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
    said = tr("Your recordings of before are still here: {names}. Files that you add now take their place.",
              names=shown)  # fmt: skip
    return card("", paragraph(said))


def samples_grid(rows: Sequence[Row], served: Mapping[int, str], *, completed: bool) -> str:
    """Return the states of a training side by side with the real recording: to hear, and to keep one.

    `served` says by step where Gradio serves its sample; that of step 0 is the recording.
    """
    said = tr("A sentence that was kept out of the training, as the voice says it at each step.")
    if completed:
        said += " " + tr("Keep the one that you like best: it takes the place of the voice.")
    else:
        said += " " + tr("One that you keep now becomes a voice of its own; the training goes on.")
    cards = _sample(tr("The real recording"), "", tr("What it learns to sound like"), served[0], "")
    for row in reversed(rows):
        step, distance = int(row["step"]), row["distance_db"]
        marks = chip(tr("kept"), "good") if row["kept"] else ""
        marks += chip(tr("best so far"), "good") if row["best"] else ""
        marks += chip(tr("newest")) if row["newest"] else ""
        near = "" if distance is None else tr("{distance} dB from the recording", distance=decimal(distance))
        keep = tr("Keep this one")
        label = tr("Keep the voice of step {step}", step=step)
        button = (
            f'<button {pressed_as("keep", step=str(step))} class="tm-keep" aria-label="{escape(label)}"'
            f"{' disabled' if row['kept'] else ''}>{escape(keep)}</button>"
        )
        cards += _sample(tr("Step {step}", step=step), marks, near, served[step], button)
    head = f"<h3>{escape(tr('One sentence, step by step'))}</h3>"
    return f'{head}{paragraph(said, quiet=True)}<ul class="tm-samples">{cards}</ul>'


def _sample(title: str, marks: str, about: str, path: str, keep: str) -> str:
    """Return a card with a button to play a file; marks and the button to keep it are HTML."""
    play, pause = tr("Play"), tr("Pause")
    failed = escape(tr("It cannot be played; reload the page."))
    return (
        f'<li class="tm-card"><h4>{escape(title)}</h4><div class="tm-chips">{marks}</div>'
        f'<p class="tm-quiet">{escape(about)}</p>'
        f'<button type="button" class="tm-play" data-file="{escape(quote(path))}" aria-pressed="false" '
        f'data-failed="{failed}" '
        f'data-play="{escape(play)}" data-pause="{escape(pause)}" data-title="{escape(title)}" '
        f'aria-label="{escape(play)}: {escape(title)}">{escape(play)}</button>{keep}</li>'
    )


def check_card(row: Row) -> str:
    """Return where the check of recordings stands, and the files that were refused before it."""
    refused = refused_list(row["refused"])
    shown = job_card(row, title=tr("Checking the recordings"))
    return shown + (card("", refused, tone="warn") if refused else "")


def check_stopped() -> str:
    said = tr("The check of the recordings was stopped; press Check again.")
    return card("", paragraph(said), tone="warn")


def not_taken(reason: str) -> str:
    """Return why recordings were refused, all of them."""
    more = tr("Change the list of files, and they are checked again. Nothing was kept.")
    said = paragraph(reason) + paragraph(more, quiet=True)
    return card(tr("These recordings were not taken"), said, tone="bad")


def seconds_in(row: Row) -> float:
    """Return how long the recordings of a job are."""
    return sum(float(file.get("seconds") or 0.0) for file in row["files"])


def next_button(text: str, step: int) -> gr.Button:
    return gr.Button(text, variant="primary", elem_id=f"clone-to-{step}")


def back_button(step: int) -> gr.Button:
    return gr.Button("Back", elem_id=f"clone-back-{step}")
