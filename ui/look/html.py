"""Pieces of HTML that say where a job or a voice stands. Everything a person typed is escaped here.

The report on a set of recordings, for people: the verdict first, then what would help, then each file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ui.look.wording import KINDS, STATES, ago, duration, moment, position, size, time_left
from ui.server.services import ENDED

KEPT = {
    "training": " What was learned is kept; press Resume to go on.",
    "batch": " What was converted is kept; press Resume, in the Jobs tab, to do the rest.",
}
"""By type of job what is said of one that was stopped."""
CHIPS = {"completed": "good", "failed": "bad", "interrupted": "warn", "cancelled": ""}
Row = Mapping[str, Any]


def log_part(text: str, *, open_it: bool = False) -> str:
    """Return the end of a job's log, folded unless it is to be open; it can be scrolled by keys."""
    head = f"<details{' open' if open_it else ''}><summary>The end of its log</summary>"
    return f'{head}<pre class="tm-log" tabindex="0">{escape(text)}</pre></details>'


def card(title: str, body: str, *, tone: str = "") -> str:
    """Return a bordered box.

    Args:
        title: Plain text; may be empty.
        body: HTML.
        tone: "", "good", "warn", "bad" or "empty".
    """
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="tm-card{f" tm-{tone}" if tone else ""}">{head}{body}</div>'


def chip(text: str, tone: str = "") -> str:
    """Return a small coloured label."""
    return f'<span class="tm-chip {tone}">{escape(text)}</span>'


def paragraph(text: str, *, quiet: bool = False) -> str:
    """Return a paragraph of plain text."""
    return f'<p class="tm-quiet">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    """Return a list of plain-text lines."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and values as a definition list; pairs without a value are left out."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs if value)
    return f'<dl class="tm-facts">{items}</dl>'


def bar(fraction: float, label: str, *, stopped: bool = False) -> str:
    """Return a progress bar that a screen reader can read.

    Args:
        fraction: 0..1.
        label: What progresses.
        stopped: Whether it stands still for good.
    """
    percent = min(100, max(0, round(100 * fraction)))
    kind = "tm-bar tm-stopped" if stopped else "tm-bar"
    values = f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}"'
    return (
        f'<div class="{kind}" role="progressbar" aria-label="{escape(label)}" {values}>'
        f'<div style="width:{percent}%"></div></div>'
    )


def job_card(row: Row, *, title: str = "") -> str:
    """Return where a job stands: state, bar, what it does, time left, and why it failed.

    Args:
        row: The public row of the job.
        title: Heading; the kind of job when empty.
    """
    status = str(row["status"])
    kind = KINDS.get(str(row["type"]), str(row["type"]))
    heading = title or kind
    state = chip(STATES.get(status, status), CHIPS.get(status, ""))
    done = 1.0 if status == "completed" else float(row.get("progress") or 0.0)
    lines = [f'<div class="tm-row"><strong>{escape(heading)}</strong>{state}</div>']
    if status != "uploaded":
        lines.append(bar(done, heading, stopped=status in ENDED and status != "completed"))
    if status in ENDED:
        lines.append(_ending(row))
    else:
        left = position(row.get("position")) if status == "pending" else time_left(row.get("eta_s"))
        percent = "" if status == "pending" else f"{100 * done:.0f} %"
        right = " · ".join(part for part in (percent, left) if part)
        said = str(row.get("message") or "")
        lines.append(
            f'<div class="tm-row tm-quiet"><span>{escape(said)}</span><span>{escape(right)}</span></div>'
        )
    tone = {"failed": "bad", "completed": "good", "interrupted": "warn"}.get(status, "")
    return card("", "".join(lines), tone=tone)


def _ending(row: Row) -> str:
    status = str(row["status"])
    if status == "failed":
        return paragraph(str(row.get("error_message") or "It failed without saying why; see the log below."))
    if status == "completed":
        return paragraph(f"Finished {ago(row.get('completed_at') or row.get('updated_at'))}.", quiet=True)
    if status == "interrupted":
        said = str(row.get("message") or "The server stopped while this ran").rstrip(".")
        kept = "What was done is kept; press Resume to go on."
        return paragraph(f"{said}. {kept if row['type'] in KEPT else 'Press Start again, in the Jobs tab.'}")
    kept = KEPT.get(str(row["type"]), "")
    return paragraph("Stopped." + kept)


def voice_card(row: Row) -> str:
    """Return what there is to know about a voice.

    Args:
        row: The voice's public row.
    """
    f0 = row.get("f0") or {}
    pitch = ""
    if f0.get("median_hz"):
        pitch = f"{f0['median_hz']:.0f} Hz in the middle, {f0['low_hz']:.0f} to {f0['high_hz']:.0f} Hz"
    times = int(row.get("uses") or 0)
    used = f"{times} time{'s' if times != 1 else ''}, {duration(row.get('seconds_converted') or 0)} of audio"
    used += f", last {ago(row.get('last_used_at'))}"
    snr = row.get("quality_snr")
    rate = row.get("sample_rate_hz")
    pairs = [
        ("Made", _made(row)),
        (
            "Learned from",
            f"{duration(row['training_duration_seconds'])} of speech"
            if row.get("training_duration_seconds")
            else "",
        ),
        ("Pitch", pitch),
        ("Recordings' noise", f"{snr:.0f} dB below the voice" if isinstance(snr, int | float) else ""),
        ("Speaks at", f"{rate / 1000:g} kHz" if rate else ""),
        ("Engine", str(row.get("engine") or "")),
        ("Size", size(row["size_bytes"]) if row.get("size_bytes") else ""),
        ("Used", used if times else "not yet"),
        ("Permission", permission(row.get("consent"), imported=row.get("origin") == "imported")),
        ("Its maker wrote", ", ".join(f"{name}: {value}" for name, value in (row.get("told") or {}).items())),
    ]
    return card(str(row["model_name"]), facts(pairs))


def _made(row: Row) -> str:
    if row.get("builtin"):
        return "comes with Timbre"
    if row.get("origin") == "imported":
        return f"{moment(row.get('created_at'))}, imported {moment(row.get('imported_at'))}"
    return moment(row.get("created_at"))


def permission(consent: Row | None, *, imported: bool = False) -> str:
    """Return the statement of consent that is kept with a voice, with its date, as it is shown.

    Args:
        consent: Its statement, and given_at if that is known; None if nothing was stated.
        imported: Whether the voice came as a file.
    """
    if not consent:
        return "Its file says nothing about it" if imported else "Nothing was stated"
    given = consent.get("given_at")
    return str(consent["statement"]) + (f" (stated {moment(given)})" if given else "")


CLONE_START = card(
    "Good recordings make a good voice",
    bullets(
        [
            "One person only, no music and no other voices in the background.",
            "Two minutes will do to try it out; ten are better, and different moods help.",
            "A quiet room and a steady distance to the microphone count more than the microphone.",
            "WAV, FLAC, MP3, M4A, OGG: add as many files as you like. Pauses are cut out for you.",
        ]
    )
    + paragraph("As soon as you add recordings they are checked, and the result appears here.", quiet=True),
    tone="empty",
)
CONVERT_START = card(
    "Your converted recording will appear here",
    paragraph(
        "Choose a voice, add a recording, and press Convert. The words, the timing and the melody stay; "
        "only the voice changes."
    ),
    tone="empty",
)
NO_VOICES = card(
    "No voices yet",
    paragraph(
        "Train one in the Clone tab (a few minutes of speech are enough), or import a voice file below."
    ),
    tone="empty",
)
NO_JOBS = card(
    "Nothing here yet",
    paragraph(
        "Trainings and conversions that you start are listed here, also after you close this page, "
        "until they are cleaned up."
    ),
    tone="empty",
)
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
