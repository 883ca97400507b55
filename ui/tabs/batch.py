"""Many recordings on the Convert tab: their files, how each fares, and the zip of what is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from pipelines.store.records import Row
from rvc.errors import RvcError
from ui.look.html import card, chip, job_card, paragraph
from ui.look.wording import duration
from ui.server.services import ACTIVE, ENDED, Services, Update, calmly, hand_out

if TYPE_CHECKING:
    from pipelines.store.records import Caller

FILE_STATES = {
    "waiting": ("Waiting", ""),
    "converting": ("Converting", ""),
    "completed": ("Done", "good"),
    "failed": ("Failed", "bad"),
}
"""Per status of a file how it is called, and the tone of its label."""

SHOWN_FILES = 200
"""A longer list is cut on the page; the zip's table has all of them."""


ONE, MANY = "One recording", "Many, or a .zip"
"""What is converted."""


def many_files() -> gr.File:
    """Lay out where recordings and zips are added."""
    return gr.File(
        label="Recordings, or .zip files of them",
        file_count="multiple",
        height=180,
        visible=False,
        elem_id="convert-files",
    )


def suited_to_number(how: str) -> tuple[Update, Update, Update, Update]:
    """Show where one recording, or many, are added: the component, the example, the files, the button."""
    many = how == MANY
    return (
        gr.Audio(visible=not many),
        gr.Button(visible=not many),
        gr.File(visible=many),
        gr.Button("Convert all" if many else "Convert"),
    )


def follow_batch(services: Services, caller: Caller, job: Row) -> Iterator[tuple[str, bool, Update]]:
    """Follow a batch.

    Yields:
        What to show of it as HTML, whether it can be stopped, and the download's button.
    """
    for row in calmly(services.jobs.follow(caller, job["id"])):
        shown = job_card(row, title=batch_title(row)) + files_table(row["files"])
        yield shown, row["status"] in ACTIVE, zip_button(services, caller, row)


def batch_title(row: Row) -> str:
    """Return what a batch does, in a few words."""
    count = len(row["files"])
    return f"Convert {count} recording{'s' if count != 1 else ''} into {row.get('model_name') or 'a voice'}"


def zip_button(services: Services, caller: Caller, row: Row) -> Update:
    """Return the button that downloads what a batch has converted; hidden before there is anything."""
    if row["status"] not in ENDED or not any(file["status"] == "completed" for file in row["files"]):
        return gr.DownloadButton(visible=False, value=None)
    try:
        path = services.jobs.files.result_path(caller, row["id"])
    except RvcError:
        return gr.DownloadButton(visible=False, value=None)
    made = sum(file["status"] == "completed" for file in row["files"])
    name = f"{made} recordings as {row.get('model_name') or 'another voice'}"
    return gr.DownloadButton(value=hand_out(path, name), visible=True)


def files_table(files: Sequence[Row]) -> str:
    """Return how each file of a batch fares, as HTML: failed ones first in words, then all in order."""
    done = sum(file["status"] == "completed" for file in files)
    failed = sum(file["status"] == "failed" for file in files)
    told = f"{done} of {len(files)} done" + (f", {failed} failed" if failed else "")
    rows = "".join(_line(file) for file in files[:SHOWN_FILES])
    more = len(files) - SHOWN_FILES
    rest = (
        paragraph(f"And {more} more; the zip holds a table of all of them.", quiet=True) if more > 0 else ""
    )
    head = "<tr><th>File</th><th>Length</th><th>State</th></tr>"
    table = f'<table class="tm-table"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return card(told, table + rest)


def _line(file: Row) -> str:
    state, tone = FILE_STATES.get(str(file["status"]), (str(file["status"]), ""))
    reason = f'<div class="tm-quiet">{escape(str(file["reason"]))}</div>' if file.get("reason") else ""
    seconds = float(file.get("seconds") or 0.0)
    return (
        f"<tr><td>{escape(str(file['name']))}{reason}</td>"
        f"<td>{duration(seconds) if seconds else '-'}</td><td>{chip(state, tone)}</td></tr>"
    )
