"""How a conversion looks while it runs and when it has ended: where it stands, the result beside the source.

A batch shows how each of its files fares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.store.records import ENDED, Caller, Row
from rvc.errors import RvcError
from ui.look.contours import contours_figure
from ui.look.html import (
    BUTTONS_JS,
    CONVERT_START,
    action,
    card,
    chip,
    hidden_button,
    job_card,
    paragraph,
    quiet_note,
)
from ui.look.language import retold, tr, tr_n
from ui.look.pitch_words import EXACT, moved, nearest_note, note_number
from ui.look.player import Track, tracks_of, two_track_player
from ui.look.settings_words import settings_in_words
from ui.look.wording import duration
from ui.server.published import publish_file
from ui.server.services import ACTIVE, Answer, Services, Update

# Not gr.Image, whose picture has no description and whose button no name.
PICTURE = """${value ? '<img src="' + value.file.url + '" alt="' + value.alt + '">' : ""}"""
# By stem of a song what its button says.
STEM_NAMES = {"vocals": "Original vocals", "backing": "Backing", "voice": "Converted voice"}
NOISY_DB = 15.0  # with less between voice and noise, a recording is offered to be cleaned
SHOWN_FILES = 200  # a longer list is cut on the page; the zip's table has all of them


class ConversionView:
    """What stands there of a conversion; an earlier result stays and can be heard until the next is done."""

    def __init__(self, services: Services) -> None:
        self._services = services
        gr.HTML("<h2>Result</h2>", elem_classes=["tm-unseen"], padding=False)
        self.status = gr.HTML(CONVERT_START, js_on_load=BUTTONS_JS, elem_id="convert-status", padding=False)
        self.cancel_button = hidden_button("Stop converting", "convert-cancel", variant="stop", size="sm")
        self.download = gr.DownloadButton(
            "Download all as a .zip", variant="primary", visible=False, elem_id="convert-zip"
        )
        with gr.Column(visible=False, elem_id="convert-results") as self.results:
            self.player = two_track_player("player")
            with gr.Column(visible=False, elem_id="stems") as self.stems:
                gr.HTML('<p class="tm-quiet">Download the parts of the song:</p>', padding=False)
                with gr.Row():
                    self.stem_buttons = {
                        stem: gr.DownloadButton(label, size="sm", min_width=90, elem_id=f"stem-{stem}")
                        for stem, label in STEM_NAMES.items()
                    }
            with gr.Accordion("Melodies and spectrograms", open=False, elem_id="pictures") as self.pictures:
                self.contours = gr.HTML(elem_id="contours", padding=False)
                self.image = gr.HTML(None, html_template=PICTURE, elem_id="picture", padding=False)
        self.heard = [self.results, self.player, self.pictures, self.stems, *self.stem_buttons.values()]
        self.drawn = [self.status, self.cancel_button, self.download, *self.heard]

    def draw_pictures(self, caller: Caller, job_id: str, against_id: str | None = None) -> Iterator[Answer]:
        """Draw the melodies of a conversion's source and result, and then their spectrograms.

        against_id: another conversion, whose result takes the place of the source.
        """
        jobs = self._services.jobs
        row, files = jobs.get(caller, job_id), jobs.files
        contours, names = files.pitch_contours(caller, row["id"]), names_of(row)
        if against_id:
            other = jobs.get(caller, against_id)
            contours["source_hz"] = files.pitch_contours(caller, other["id"])["result_hz"]
            names = told_apart(other, row)
        yield {self.contours: contours_figure(contours, *names)}
        picture, shown = files.spectrograms(caller, row["id"], against_id)
        values = {"source": names[0], "result": names[1]}
        described = tr("Spectrograms of {source} and {result}, one above the other", **values)
        file = gr.FileData(path=publish_file(picture, "spectrograms", *shown)).model_dump()
        yield {self.image: {"file": file, "alt": escape(described)}}

    def draw(self, caller: Caller, row: Row, name: str, *, focus: bool = False) -> Answer:
        """Draw where a conversion or a batch stands; with `focus`, a result comes into view and is heard."""
        shown = {
            self.cancel_button: gr.Button(visible=row["status"] in ACTIVE),
            self.download: gr.DownloadButton(visible=False),
        }
        if row["type"] == "batch":
            return shown | {
                self.status: job_card(row, title=batch_title(row)) + files_table(row["files"], playable=True),
                self.download: zip_button(self._services, caller, row),
            }
        first = row["files"][0] if row["files"] else {"name": "recording"}
        note = quiet_note(first)
        if row["status"] != "completed":
            return shown | {self.status: job_card(row, title=tr("Converting into {name}", name=name)) + note}
        told = what_was_sung(row, name) if row["type"] == "cover" else what_was_done(row, name)
        told = paragraph(told) + note + marked_before(row) + cleaning_offered(row)
        done = card(tr("Done"), told, tone="good")
        return shown | {self.status: done} | self.hear(caller, row, play=focus)

    def hear(self, caller: Caller, row: Row, against: Row | None = None, *, play: bool = False) -> Answer:
        """Put a conversion into the player, beside its source or beside the result of another one."""
        if against:
            names = told_apart(against, row)
            first, second = self._track(caller, against, names[0]), self._track(caller, row, names[1])
        else:
            first, second = self._source_track(caller, row), self._track(caller, row, names_of(row)[1])
        return self._heard(tracks_of(first, second, play=play), pictures=True) | self._stems(caller, row)

    def hear_file(self, caller: Caller, job_id: str, number: int) -> Answer:
        """Put one recording of a batch, by its number from 1, into the player, and play it."""
        source, made, file = self._services.jobs.files.batch_played(caller, job_id, number)
        seconds, stem = float(file.get("seconds") or 0.0), Path(str(file["name"])).stem
        voice = str(self._services.jobs.get(caller, job_id)["model_name"])
        tracks = tracks_of(
            Track(name=stem, path=publish_file(source, stem), seconds=seconds),
            Track(name=voice, path=publish_file(made, f"{stem} as {voice}"), seconds=seconds),
            play=True,
        )
        return self._heard(tracks, pictures=False)

    def result_file(self, caller: Caller, row: Row) -> str:
        """Publish what a conversion has made, under a name that says of what and in which voice."""
        return publish_file(
            self._services.jobs.files.result_path(caller, row["id"]), " as ".join(names_of(row))
        )

    def _heard(self, tracks: dict[str, Any], *, pictures: bool) -> Answer:
        return {
            self.results: gr.Column(visible=True),
            self.player: tracks,
            self.pictures: gr.Accordion(open=False, visible=pictures),
            self.stems: gr.Column(visible=False),
        }

    def _stems(self, caller: Caller, row: Row) -> Answer:
        """Offer the parts of a song that was covered, as far as they are still there."""
        if row["type"] != "cover":
            return {}
        name, _ = names_of(row)
        answer: Answer = {self.stems: gr.Column(visible=True)}
        for stem, button in self.stem_buttons.items():
            path = None
            with suppress(RvcError):
                found = self._services.jobs.files.stem_path(caller, row["id"], stem)
                path = publish_file(found, f"{name} {stem}")
            answer[button] = gr.DownloadButton(value=path, visible=path is not None)
        return answer

    def _source_track(self, caller: Caller, row: Row) -> Track:
        name, _ = names_of(row)
        path = publish_file(self._services.jobs.files.played_path(caller, row["id"]), name)
        length: Row = (
            row["result"] if row["type"] == "speech" else row["files"][0]
        )  # of a text it was a guess
        return Track(name=name, path=path, seconds=float(length.get("seconds") or 0.0))

    def _track(self, caller: Caller, row: Row, name: str) -> Track:
        seconds = float((row.get("result") or {}).get("seconds") or 0.0)
        return Track(name=name, path=self.result_file(caller, row), seconds=seconds)


def names_of(row: Row) -> tuple[str, str]:
    """Return what the recording of a conversion is called, without its ending, and the voice."""
    stem = Path(str(row["files"][0]["name"])).stem if row["files"] else tr("recording")
    return stem, str(row.get("model_name") or tr("another voice"))


def title_of_take(row: Row) -> str:
    name, voice = names_of(row)
    return tr("{name} in {voice}", name=name, voice=voice)


def what_was_sung(row: Row, name: str) -> str:
    """Return how far the vocals of a song were moved."""
    semitones = (row.get("result") or {}).get("transpose_semitones") or 0.0
    if abs(semitones) < EXACT:
        return tr("Here is your song in the voice {name}, in its own key.", name=name)
    return tr("Here is your song in the voice {name}, {interval}.", name=name, interval=moved(semitones))


def told_apart(first: Row, second: Row) -> tuple[str, str]:
    """Return what two takes are called beside each other: how they differ, and their voices."""
    one, other = (settings_in_words(row["settings"], "") for row in (first, second))
    same = names_of(first)[0] == names_of(second)[0]
    called = [names_of(row)[1] if same else title_of_take(row) for row in (first, second)]
    only_one = [word for word in one if word not in other]
    only_other = [word for word in other if word not in one]
    return " · ".join([*only_one, called[0]]), " · ".join([*only_other, called[1]])


def what_was_done(row: Row, name: str) -> str:
    """Return how far a recording was moved, as who sings calls it, and from which note to which."""
    result = row.get("result") or {}
    if row["type"] == "speech":
        return tr(
            "Here is your text in the voice {name}. The first track is how it was read aloud.", name=name
        )
    semitones, median_hz = result.get("transpose_semitones"), result.get("source_median_hz")
    if semitones is None:
        return tr(
            "Here is your recording in the voice {name}. Listen to both, and download the second one.",
            name=name,
        )
    if abs(semitones) < EXACT:
        return tr("Here is your recording in the voice {name}, at its own pitch.", name=name)
    values = {"name": name, "interval": moved(semitones)}
    if not median_hz:
        return tr(
            "Here is your recording in the voice {name}, {interval}. Too high or too low? Set another pitch, "
            "and convert it again.",
            **values,
        )
    note = note_number(median_hz)
    return tr(
        "Here is your recording in the voice {name}, {interval}: from around {low} to around {high}. Too "
        "high or too low? Set another pitch, and convert it again.",
        **values,
        low=nearest_note(note),
        high=nearest_note(note + semitones),
    )


def marked_before(row: Row) -> str:
    """Return which marks of synthetic sound the recording had before it was converted; "" without any."""
    marks = (row.get("result") or {}).get("made_from")
    if not marks:
        return ""
    told = tr("Of a recording that was marked itself: {marks}.", marks="; ".join(marks))
    return paragraph(told, quiet=True)


def cleaning_offered(row: Row) -> str:
    """Return, of a noisy recording that was converted as it is, a button that cleans it first; else ""."""
    snr_db = (row.get("result") or {}).get("source_snr_db")
    if (
        row["type"] != "conversion"
        or snr_db is None
        or snr_db >= NOISY_DB
        or row["settings"].get("reduce_noise")
    ):
        return ""
    said = tr(
        "The noise in it is only {db} dB below the voice. Cleaned first, it may be clearer: hear both, and "
        "keep the better one.",
        db=f"{snr_db:.0f}",
    )
    clean = tr("Clean it first, and compare")
    return paragraph(said) + action("act", clean, clean, job=row["id"])


def batch_title(row: Row) -> str:
    voice = row.get("model_name") or tr("a voice")
    return tr_n(
        "Convert {count} recording into {voice}",
        "Convert {count} recordings into {voice}",
        count=len(row["files"]),
        voice=voice,
    )


def zip_button(services: Services, caller: Caller, row: Row) -> Update:
    """Return the button that downloads what a batch has converted; hidden before there is anything."""
    made = sum(file["status"] == "completed" for file in row["files"])
    if row["status"] in ENDED and made:
        name = f"{made} recordings as {row.get('model_name') or 'another voice'}"
        with suppress(RvcError):
            path = publish_file(services.jobs.files.result_path(caller, row["id"]), name)
            return gr.DownloadButton(value=path, visible=True)
    return gr.DownloadButton(visible=False, value=None)


def files_table(files: Sequence[Row], *, playable: bool = False) -> str:
    """Return how each file of a batch fares, as HTML; one that failed with its reason.

    playable: whether each that is done has a button, whose event "hear" tells its number, from 1.
    """
    done = sum(file["status"] == "completed" for file in files)
    failed = sum(file["status"] == "failed" for file in files)
    title = tr("{done} of {count} done", done=done, count=len(files))
    if failed:
        title = tr("{done} of {count} done, {failed} failed", done=done, count=len(files), failed=failed)
    rows = "".join(
        _line(file, number if playable else 0) for number, file in enumerate(files[:SHOWN_FILES], 1)
    )
    more = len(files) - SHOWN_FILES
    rest = tr("And {count} more; the zip holds a table of all of them.", count=more)
    columns = [tr("File"), tr("Length"), tr("State")]
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    hear = f'<th scope="col"><span class="tm-unseen">{escape(tr("Listen"))}</span></th>' if playable else ""
    head = f"<tr>{heads}{hear}</tr>"
    table = f'<table class="tm-table tm-batch"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return card(title, table + (paragraph(rest, quiet=True) if more > 0 else ""))


def _line(file: Row, number: int) -> str:
    states = {  # how it is called, the tone of its label
        "waiting": (tr("Waiting"), ""),
        "converting": (tr("Converting"), ""),
        "completed": (tr("Done"), "good"),
        "failed": (tr("Failed"), "bad"),
    }
    name, status = str(file["name"]), str(file["status"])
    state, tone = states.get(status, (status, ""))
    reason = (
        f'<div class="tm-quiet">{escape(retold(str(file["reason"])))}</div>' if file.get("reason") else ""
    )
    seconds = float(file.get("seconds") or 0.0)
    button = ""
    if number and status == "completed":
        button = action("hear", tr("Play"), tr("Play {name}", name=name), number=str(number))
    return (
        f"<tr><td>{escape(name)}{reason}{quiet_note(file)}</td>"
        f"<td>{duration(seconds) if seconds else '-'}</td><td>{chip(state, tone)}</td>"
        + (f"<td>{button}</td>" if number else "")
        + "</tr>"
    )


def voice_name(services: Services, caller: Caller, model_id: str | None) -> str:
    """Return what a voice is called, which may have been deleted since."""
    try:
        return str(services.library.get(caller, str(model_id))["model_name"])
    except RvcError:
        return tr("a voice that is gone")
