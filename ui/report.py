"""The report on a set of recordings, for people: the verdict first, then what would help, then each file."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ui.panels import bullets, card, chip, facts
from ui.wording import duration

VERDICTS = {"good": ("Good", "good"), "usable": ("Usable", "warn"), "problem": ("Problem", "bad")}
HEADLINES = {
    "good": "These recordings are good",
    "usable": "These recordings can be used",
    "problem": "These recordings need attention",
}
FOLDED_FROM = 6
"""From so many files on their list is folded."""


def report_card(report: Mapping[str, Any]) -> str:
    """Return the report as HTML.

    Args:
        report: As `DatasetReport.to_json` gives it.
    """
    word, tone = VERDICTS.get(str(report["verdict"]), ("", ""))
    head = (
        f'<div class="tm-row"><h3>{escape(HEADLINES.get(str(report["verdict"]), "The recordings"))}</h3>'
        f"{chip(word, tone)}</div>"
    )
    body = head + bullets(report["advice"]) + _figures(report) + _files(report["files"])
    return f'<div class="tm-report">{card("", body, tone=tone)}</div>'


def _figures(report: Mapping[str, Any]) -> str:
    snr_db, ends_hz, f0_hz = report["snr_db"], report["bandwidth_hz"], report["f0_median_hz"]
    pitch = ""
    if f0_hz:
        pitch = f"{f0_hz:.0f} Hz, mostly {report['f0_low_hz']:.0f} to {report['f0_high_hz']:.0f} Hz"
    return facts(
        [
            ("Speech", f"{duration(report['speech_s'])} of {duration(report['seconds'])}"),
            ("Noise", f"{snr_db:.0f} dB below the voice" if snr_db is not None else ""),
            ("Sound up to", f"{ends_hz / 1000:.1f} kHz" if ends_hz else ""),
            ("Pitch", pitch),
        ]
    )


def _files(files: list[Mapping[str, Any]]) -> str:
    items = "".join(_file(file) for file in files)
    if len(files) < FOLDED_FROM:
        return f'<ul class="tm-files">{items}</ul>'
    worth_a_look = sum(file["verdict"] != "good" for file in files)
    told = f"{len(files)} files" + (f", {worth_a_look} worth a look" if worth_a_look else ", all good")
    return f'<details><summary>{told}</summary><ul class="tm-files">{items}</ul></details>'


def _file(file: Mapping[str, Any]) -> str:
    word, tone = VERDICTS.get(str(file["verdict"]), (str(file["verdict"]), ""))
    spoken = f"{duration(file['speech_s'])} of speech in {duration(file['seconds'])}"
    return (
        f'<li><div class="tm-row"><strong>{escape(str(file["name"]))}</strong>{chip(word, tone)}</div>'
        f'<div>{escape(str(file["reason"]))}</div><div class="tm-quiet">{escape(spoken)}</div></li>'
    )
