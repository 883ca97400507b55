"""What the page shows of jobs, voices and recordings, as HTML; what a person typed is escaped here."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from pipelines.store.records import ENDED
from ui.look.wording import KINDS, STATES, ago, duration, moment, position, size, time_left

Row = Mapping[str, Any]
KEPT = {  # by type of job what is said of one that was stopped
    "training": " What was learned is kept; press Resume to go on.",
    "batch": " What was converted is kept; press Resume, in the Jobs tab, to do the rest.",
}
TONES = {"completed": "good", "failed": "bad", "interrupted": "warn"}
VERDICTS = {"good": ("Good", "good"), "usable": ("Usable", "warn"), "problem": ("Problem", "bad")}
HEADLINES = {
    "good": "These recordings are good",
    "usable": "These recordings can be used",
    "problem": "These recordings need attention",
}
FOLDED_FROM = 6  # from so many files on their list is folded
MOST_FILES = 100  # of a list are shown, those worth a look first
MOST_REFUSED = 20


def log_part(text: str, *, open_it: bool = False) -> str:
    """Return the end of a job's log, folded unless it is to be open; it can be scrolled by keys."""
    head = f"<details{' open' if open_it else ''}><summary>The end of its log</summary>"
    return f'{head}<pre class="tm-log" tabindex="0">{escape(text)}</pre></details>'


def card(title: str, body: str, *, tone: str = "") -> str:
    """Return a bordered box; the body is HTML, the tone "", "good", "warn", "bad" or "empty"."""
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="tm-card{f" tm-{tone}" if tone else ""}">{head}{body}</div>'


def empty_card(title: str, text: str) -> str:
    return card(title, paragraph(text), tone="empty")


def chip(text: str, tone: str = "") -> str:
    return f'<span class="tm-chip {tone}">{escape(text)}</span>'


def paragraph(text: str, *, quiet: bool = False) -> str:
    return f'<p class="tm-quiet">{escape(text)}</p>' if quiet else f"<p>{escape(text)}</p>"


def bullets(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>" if lines else ""


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and values as a definition list; pairs without a value are left out."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs if value)
    return f'<dl class="tm-facts">{items}</dl>'


def bar(fraction: float, label: str, *, stopped: bool = False) -> str:
    """Return a progress bar that a screen reader can read; grey when it stands still for good."""
    percent = min(100, max(0, round(100 * fraction)))
    return (
        f'<div class="{"tm-bar tm-stopped" if stopped else "tm-bar"}" role="progressbar" '
        f'aria-label="{escape(label)}" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{percent}">'
        f'<div style="width:{percent}%"></div></div>'
    )


def job_card(row: Row, *, title: str = "") -> str:
    """Return where a job stands: state, bar, what it does, time left, and why it failed."""
    status, kind = str(row["status"]), str(row["type"])
    tone = TONES.get(status, "")
    heading = title or KINDS.get(kind, kind)
    done = 1.0 if status == "completed" else float(row.get("progress") or 0.0)
    body = _between(f"<strong>{escape(heading)}</strong>", chip(STATES.get(status, status), tone))
    if status != "uploaded":
        body += bar(done, heading, stopped=status in ENDED and status != "completed")
    if status in ENDED:
        return card("", body + _ending(row), tone=tone)
    if status == "pending":
        right = position(row.get("position"))
    else:
        right = " · ".join(filter(None, (f"{100 * done:.0f} %", time_left(row.get("eta_s")))))
    said = f"<span>{escape(str(row.get('message') or ''))}</span>"
    return card("", body + _between(said, f"<span>{escape(right)}</span>", quiet=True), tone=tone)


def _between(left: str, right: str, *, quiet: bool = False) -> str:
    """Return two pieces of HTML at the two ends of a line."""
    return f'<div class="tm-row{" tm-quiet" if quiet else ""}">{left}{right}</div>'


def _ending(row: Row) -> str:
    status, kept = str(row["status"]), KEPT.get(str(row["type"]), "")
    if status == "failed":
        return paragraph(str(row.get("error_message") or "It failed without saying why; see the log below."))
    if status == "completed":
        return paragraph(f"Finished {ago(row.get('completed_at') or row.get('updated_at'))}.", quiet=True)
    if status == "interrupted":
        said = str(row.get("message") or "The server stopped while this ran").rstrip(".")
        press = "What was done is kept; press Resume to go on."
        return paragraph(f"{said}. {press if kept else 'Press Start again, in the Jobs tab.'}")
    return paragraph("Stopped." + kept)


def voice_card(row: Row) -> str:
    f0, snr, rate = row.get("f0") or {}, row.get("quality_snr"), row.get("sample_rate_hz")
    pitch, learned, used = pitch_note(row), row.get("training_duration_seconds"), "not yet"
    if f0.get("median_hz"):
        pitch = f"{f0['median_hz']:.0f} Hz in the middle, {f0['low_hz']:.0f} to {f0['high_hz']:.0f} Hz"
    if times := int(row.get("uses") or 0):
        used = f"{times} time{'s' if times != 1 else ''}, {duration(row.get('seconds_converted') or 0)}"
        used += f" of audio, last {ago(row.get('last_used_at'))}"
    pairs = [
        ("Made", _made(row)),
        ("Learned from", f"{duration(learned)} of speech" if learned else ""),
        ("Pitch", pitch),
        ("Recordings' noise", f"{snr:.0f} dB below the voice" if isinstance(snr, int | float) else ""),
        ("Speaks at", f"{rate / 1000:g} kHz" if rate else ""),
        ("Engine", str(row.get("engine") or "")),
        ("Size", size(row["size_bytes"]) if row.get("size_bytes") else ""),
        ("Used", used),
        ("Permission", permission(row.get("consent"), imported=row.get("origin") == "imported")),
        ("Its maker wrote", ", ".join(f"{name}: {value}" for name, value in (row.get("told") or {}).items())),
    ]
    return card(str(row["model_name"]), facts(pairs))


def pitch_note(row: Row) -> str:
    """Return what automatic pitch cannot do for a voice and why; empty if it can do all."""
    if row.get("uses_f0") is False:
        return "It was trained without F0: it follows no melody, and its pitch cannot be set."
    known = bool((row.get("f0") or {}).get("median_hz"))
    said = "Automatic pitch does nothing for this voice until its pitch is set on the Voices tab."
    return "" if known else said


def _made(row: Row) -> str:
    if row.get("builtin"):
        return "comes with Timbre"
    imported = f", imported {moment(row.get('imported_at'))}" if row.get("origin") == "imported" else ""
    return moment(row.get("created_at")) + imported


def permission(consent: Row | None, *, imported: bool = False) -> str:
    """Return the statement of consent that is kept with a voice, with its date if that is known."""
    if not consent:
        return "Its file says nothing about it" if imported else "Nothing was stated"
    given = consent.get("given_at")
    return str(consent["statement"]) + (f" (stated {moment(given)})" if given else "")


def report_card(report: Row) -> str:
    """Return a `DatasetReport.to_json`: the verdict, what would help, each file, those refused."""
    verdict = str(report["verdict"])
    word, tone = VERDICTS.get(verdict, ("", ""))
    head = _between(f"<h3>{escape(HEADLINES.get(verdict, 'The recordings'))}</h3>", chip(word, tone))
    body = head + bullets(report["advice"]) + _figures(report) + _files(report["files"])
    body += refused_list(report.get("refused", []))
    return f'<div class="tm-report">{card("", body, tone=tone)}</div>'


def _figures(report: Row) -> str:
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


def refused_list(refused: Sequence[Row]) -> str:
    """Return the files of an upload that could not be used, each with its reason; "" without any."""
    if not refused:
        return ""
    count = "1 file is" if len(refused) == 1 else f"{len(refused):,} files are"
    pairs = [(str(row["name"]), str(row["reason"])) for row in refused[:MOST_REFUSED]]
    said = [reason if name in reason else f"{name}: {reason}" for name, reason in pairs]
    return paragraph(f"{count} not used:") + bullets(said) + _more(len(refused) - MOST_REFUSED)


def _more(count: int) -> str:
    return paragraph(f"And {count:,} more.", quiet=True) if count > 0 else ""


def _files(files: Sequence[Row]) -> str:
    shown = list(files)
    if len(files) > MOST_FILES:
        grades = list(VERDICTS)
        shown.sort(key=lambda file: -grades.index(file["verdict"]))
    listed = f'<ul class="tm-files">{"".join(_file(file) for file in shown[:MOST_FILES])}</ul>'
    if len(files) < FOLDED_FROM:
        return listed
    worth_a_look = sum(file["verdict"] != "good" for file in files)
    told = f"{len(files):,} files" + (f", {worth_a_look:,} worth a look" if worth_a_look else ", all good")
    more = _more(len(files) - MOST_FILES)
    return f"<details><summary>{told}</summary>{listed}{more}</details>"


def _file(file: Row) -> str:
    word, tone = VERDICTS.get(str(file["verdict"]), (str(file["verdict"]), ""))
    spoken = f"{duration(file['speech_s'])} of speech in {duration(file['seconds'])}"
    head = _between(f"<strong>{escape(str(file['name']))}</strong>", chip(word, tone))
    said = f"<div>{escape(str(file['reason']))}</div>" + quiet_note(file)
    return f'<li>{head}{said}<div class="tm-quiet">{escape(spoken)}</div></li>'


def quiet_note(file: Row) -> str:
    """Return what is worth knowing of how a recording was read; nothing for most."""
    return f'<div class="tm-quiet">{escape(str(file["note"]))}</div>' if file.get("note") else ""


def player(label: str, elem_id: str, *, source: bool = False, download: bool = False) -> gr.Audio:
    """Return an empty player; `source` when it plays what a person sent in and not what a voice says."""
    return gr.Audio(
        label=label,
        type="filepath",
        interactive=False,
        buttons=["download"] if download else [],
        waveform_options=waveform(source=source),
        elem_id=elem_id,
    )


def _of_now(component: Any) -> Any:  # noqa: ANN401  # classes of Gradio's have no types
    """Make of a component with choices one that takes what it is sent, also when it is gone from the list.

    The list that a page shows may be older than the one that the server knows, or the server new. Listeners
    look up what they are given, and say in a sentence that it is gone.
    """

    def preprocess(self: object, payload: object) -> str | None:
        if payload is None or isinstance(payload, str):
            return payload
        raise gr.Error("What was chosen is no entry of the list; choose again.", print_exception=False)

    # Gradio's own metaclass would write a file of stubs beside this one.
    names = {"preprocess": preprocess, "__module__": component.__module__}
    return ABCMeta.__new__(type(component), component.__name__, (component,), names)


ChoiceList, ChoiceDropdown = _of_now(gr.Radio), _of_now(gr.Dropdown)


def choice_list(label: str, elem_id: str) -> gr.Radio:
    """Return a list to choose from, one line for each entry; hidden while it is empty."""
    return ChoiceList(label=label, choices=[], visible=False, elem_id=elem_id, elem_classes=["tm-list"])


def hidden_button(text: str, elem_id: str, **look: Any) -> gr.Button:  # noqa: ANN401
    return gr.Button(text, visible=False, elem_id=elem_id, **look)


def waveform(*, source: bool) -> gr.WaveformOptions:
    """Return how a waveform is drawn: grey for a source and teal for a voice."""
    return gr.WaveformOptions(waveform_progress_color="#8a8f98" if source else "#0f766e")


CLONE_START = card(
    "Good recordings make a good voice",
    bullets(
        [
            "One person only, no music and no other voices in the background.",
            "Two minutes will do to try it out; ten are better, and different moods help.",
            "A quiet room and a steady distance to the microphone count more than the microphone.",
            "Sound files, videos or a .zip: as many as you like. Pauses are cut out for you.",
        ]
    )
    + paragraph("As soon as you add recordings they are checked, and the result appears here.", quiet=True),
    tone="empty",
)
CONVERT_START = empty_card(
    "Your converted recording will appear here",
    "Choose a voice, add a recording, and press Convert. The words, the timing and the melody stay; "
    "only the voice changes.",
)
NO_VOICES = empty_card(
    "No voices yet",
    "Train one in the Clone tab (a few minutes of speech are enough), or import a voice file below.",
)
NO_JOBS = empty_card(
    "Nothing here yet",
    "Trainings and conversions that you start are listed here, also after you close this page, "
    "until they are cleaned up.",
)
