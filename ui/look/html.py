"""What the page shows of jobs, voices and recordings, as HTML; what a person typed is escaped here."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from pipelines.store.records import ENDED, RESTARTABLE
from ui.look.job_state import how_far, state_of
from ui.look.language import language_name, retold, tr, tr_later, tr_n
from ui.look.pitch_words import note_range
from ui.look.report_sentences import Shared, shared_sentences
from ui.look.wording import KINDS, Row, ago, duration, khz, moment, shares_said, size

KEPT = {  # by type of job what is said of one that was stopped
    "training": tr_later("What was learned is kept; press Resume to go on."),
    "batch": tr_later("What was converted is kept; press Resume to do the rest."),
    "cover": tr_later("What was separated is kept; press Resume to go on."),
}
VERDICTS = {
    "good": (tr_later("Good"), "good"),
    "usable": (tr_later("Usable"), "warn"),
    "problem": (tr_later("Problem"), "bad"),
}
HEADLINES = {
    "good": tr_later("These recordings are good"),
    "usable": tr_later("These recordings can be used"),
    "problem": tr_later("These recordings need attention"),
}
FOLDED_FROM = 6  # from so many files on their list is folded
MOST_FILES = 100  # of a list are shown, those worth a look first
MOST_REFUSED = 20
BUTTONS_JS = (Path(__file__).parent / "buttons.js").read_text(encoding="utf-8")  # for those of `pressed_as`


def folded(title: str, body: str, *, open_it: bool = False) -> str:
    """Return HTML behind a line that opens it."""
    return f"<details{' open' if open_it else ''}><summary>{escape(title)}</summary>{body}</details>"


def log_part(text: str, *, open_it: bool = False) -> str:
    """Return the end of a job's log, folded unless it is to be open; it can be scrolled by keys."""
    shown = f'<pre class="tm-log" tabindex="0">{escape(text)}</pre>'
    return folded(tr("The end of its log"), shown, open_it=open_it)


def card(title: str, body: str, *, tone: str = "") -> str:
    """Return a bordered box; the body is HTML, the tone "", "good", "warn", "bad" or "empty"."""
    head = f"<h3>{escape(title)}</h3>" if title else ""
    return f'<div class="tm-card{f" tm-{tone}" if tone else ""}">{head}{body}</div>'


def empty_card(title: str, text: str) -> str:
    return card(title, paragraph(text), tone="empty")


def chip(text: str, tone: str = "") -> str:
    return f'<span class="tm-chip {tone}">{escape(text)}</span>'


def pressed_as(event: str, **data: str) -> str:
    """Return the attributes of a button whose press is an event of its gr.HTML, which is told the data."""
    facts = "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    return f'type="button" data-event="{event}"{facts}'


def action(event: str, text: str, label: str, *, look: str = "tm-action", **data: str) -> str:
    """Return a button that does something; the label says also what it acts on."""
    told = pressed_as(event, **data)
    return f'<button {told} class="{look}" aria-label="{escape(label)}">{escape(text)}</button>'


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


def job_card(row: Row, *, title: str = "", linked: bool = True) -> str:
    """Return where a job stands: state, bar, what it does, time left, and why it failed.

    `linked` says whether a button leads to the Jobs tab, where what has ended can be begun again.
    """
    status, kind = str(row["status"]), str(row["type"])
    state, tone = state_of(row)
    heading = title or retold(KINDS.get(kind, kind))
    done = 1.0 if status == "completed" else float(row.get("progress") or 0.0)
    body = _between(f"<strong>{escape(heading)}</strong>", chip(state, tone))
    if status != "uploaded":
        body += bar(done, heading, stopped=status in ENDED and status != "completed")
    if status in ENDED:
        link = _to_jobs() if linked and status in RESTARTABLE else ""
        return card("", body + _ending(row) + link, tone=tone)
    right = how_far(row)
    said = f"<span>{escape(retold(str(row.get('message') or '')))}</span>"
    return card("", body + _between(said, f"<span>{escape(right)}</span>", quiet=True), tone=tone)


def _between(left: str, right: str, *, quiet: bool = False) -> str:
    """Return two pieces of HTML at the two ends of a line."""
    return f'<div class="tm-row{" tm-quiet" if quiet else ""}">{left}{right}</div>'


def _to_jobs() -> str:
    return f'<button type="button" class="tm-small" data-tab="jobs">{escape(tr("Go to Jobs"))}</button>'


def _ending(row: Row) -> str:
    status, kept = str(row["status"]), KEPT.get(str(row["type"]), "")
    if status == "failed":
        reason = row.get("error_message") or "It failed without saying why; see the log below."
        return paragraph(retold(str(reason)))
    if status == "completed":
        finished = ago(row.get("completed_at") or row.get("updated_at"))
        return paragraph(tr("Finished {when}.", when=finished), quiet=True)
    if status == "interrupted":
        said = str(row.get("message") or "The server stopped while this ran").rstrip(".")
        press = tr("Press Start again.")
        if kept:
            press = tr("What was done is kept; press Resume to go on.")
        return paragraph(f"{retold(f'{said}.')} {press}")
    return paragraph(" ".join(filter(None, (tr("Stopped."), retold(kept)))))


def voice_card(row: Row) -> str:
    f0, snr, rate = row.get("f0") or {}, row.get("quality_snr"), row.get("sample_rate_hz")
    pitch, learned, used = pitch_note(row), row.get("training_duration_seconds"), tr("not yet")
    if f0.get("median_hz"):
        middle, low, high = (f"{f0[key]:.0f}" for key in ("median_hz", "low_hz", "high_hz"))
        pitch = tr("{middle} Hz in the middle, {low} to {high} Hz", middle=middle, low=low, high=high)
    if times := int(row.get("uses") or 0):
        length, last = duration(row.get("seconds_converted") or 0), ago(row.get("last_used_at"))
        used = tr_n(
            "{count} time, {length} of audio, last {last}",
            "{count} times, {length} of audio, last {last}",
            times,
            length=length,
            last=last,
        )
    pairs = [
        (tr("Made"), _made(row)),
        (tr("Learned from"), tr("{length} of speech", length=duration(learned)) if learned else ""),
        (tr("Pitch"), pitch),
        (tr("Notes"), note_range(row)),
        (tr("Language"), language_name(row.get("language"))),
        (tr("Recordings' noise"), _noise(snr if isinstance(snr, int | float) else None)),
        (tr("Speaks at"), khz(rate, 0 if rate % 1000 == 0 else 1) if rate else ""),
        (tr("Engine"), _engine(row)),
        (tr("Size"), size(row["size_bytes"]) if row.get("size_bytes") else ""),
        (tr("Used"), used),
        (tr("Blended from"), shares_said((one["name"], one["share"]) for one in row.get("parents") or ())),
        (tr("Permission"), _permissions(row)),
        (tr("Export"), tr("locked by its owner") if row.get("locked") else ""),
        (
            tr("Its maker wrote"),
            ", ".join(f"{name}: {value}" for name, value in (row.get("told") or {}).items()),
        ),
    ]
    return card(str(row["model_name"]), facts(pairs))


def _engine(row: Row) -> str:
    """Return what makes a voice speak, in words."""
    name = str(row.get("engine") or "")
    if name == "lite":
        return tr("Timbre's own (lite): small and quick, also without a graphics card")
    return tr("RVC, as most voice models on the web") if name == "rvc" else name


def pitch_note(row: Row) -> str:
    """Return what automatic pitch cannot do for a voice and why; empty if it can do all."""
    if row.get("uses_f0") is False:
        return tr("It was trained without F0: it follows no melody, and its pitch cannot be set.")
    known = bool((row.get("f0") or {}).get("median_hz"))
    said = tr("Automatic pitch does nothing for this voice until its pitch is set on the Voices tab.")
    return "" if known else said


def _made(row: Row) -> str:
    if row.get("builtin"):
        return tr("comes with Timbre")
    made = moment(row.get("created_at"))
    if row.get("origin") == "imported":
        return tr("{made}, imported {imported}", made=made, imported=moment(row.get("imported_at")))
    return made


def _noise(snr_db: float | None) -> str:
    return "" if snr_db is None else tr("{db} dB below the voice", db=f"{snr_db:.0f}")


def _permissions(row: Row) -> str:
    """Return what was stated of a voice, or of each of those that it is blended from."""
    imported = row.get("origin") == "imported"
    if parents := row.get("parents"):
        said = [(one["name"], permission(one["consent"], imported=imported)) for one in parents]
        return "; ".join(f"{name}: {statement.rstrip('.')}" for name, statement in said)
    return permission(row.get("consent"), imported=imported)


def permission(consent: Row | None, *, imported: bool = False) -> str:
    """Return the statement of consent that is kept with a voice, with its date if that is known."""
    if not consent:
        return tr("Its file says nothing about it") if imported else tr("Nothing was stated")
    given, by = consent.get("given_at"), consent.get("stated_by")
    said = retold(str(consent["statement"]))
    if given and by:
        said = tr("{statement} (stated by {who}, {when})", statement=said, who=by, when=moment(given))
    elif given:
        said = tr("{statement} (stated {when})", statement=said, when=moment(given))
    elif by:
        said = tr("{statement} (stated by {who})", statement=said, who=by)
    if spoken := consent.get("spoken"):
        when = moment(spoken["recorded_at"])
        said += "; " + tr("spoken by {who}, {when}", who=spoken["speaker"], when=when)
    return said


def report_card(report: Row) -> str:
    """Return a `DatasetReport.to_json`: the verdict, what would help, each file, those refused."""
    verdict = str(report["verdict"])
    word, tone = VERDICTS.get(verdict, ("", ""))
    head = _between(f"<h3>{escape(retold(HEADLINES.get(verdict, '')))}</h3>", chip(retold(word), tone))
    shared, own = shared_sentences(report["files"])
    body = (
        head
        + bullets([retold(advice) for advice in report["advice"]])
        + _figures(report)
        + _of_several(shared)
    )
    body += _files(
        [{**file, "reason": " ".join(said)} for file, said in zip(report["files"], own, strict=True)]
    )
    body += refused_list(report.get("refused", []))
    return f'<div class="tm-report">{card("", body, tone=tone)}</div>'


def _figures(report: Row) -> str:
    ends_hz, f0_hz, pitch = report["bandwidth_hz"], report["f0_median_hz"], ""
    if f0_hz:
        middle, low, high = (f"{report[f'f0_{key}_hz']:.0f}" for key in ("median", "low", "high"))
        pitch = tr("{middle} Hz, mostly {low} to {high} Hz", middle=middle, low=low, high=high)
    speech, length = duration(report["speech_s"]), duration(report["seconds"])
    return facts(
        [
            (tr("Speech"), tr("{speech} of {length}", speech=speech, length=length)),
            (tr("Rejected"), _rejected(report.get("rejected"))),
            (tr("Noise"), _noise(report["snr_db"])),
            (tr("Sound up to"), khz(ends_hz) if ends_hz else ""),
            (tr("Pitch"), pitch),
        ]
    )


def _rejected(figures: Row | None) -> str:
    """Return how much of a set a person has rejected, and what is left."""
    if not figures:
        return ""
    out, left = duration(figures["rejected_s"]), duration(figures["left_s"])
    return tr_n(
        "{count} slice, {out}; {left} are left", "{count} slices, {out}; {left} are left",
        count=figures["rejected"], out=out, left=left,
    )  # fmt: skip


def _of_several(shared: Sequence[Shared]) -> str:
    items = [
        f'<li>{escape(retold(one.sentence))} <span class="tm-quiet">({escape(one.about)})</span></li>'
        for one in shared
    ]
    return f'<ul class="tm-shared">{"".join(items)}</ul>' if items else ""


def refused_list(refused: Sequence[Row]) -> str:
    """Return the files of an upload that could not be used, each with its reason; "" without any."""
    if not refused:
        return ""
    pairs = [(str(row["name"]), str(row["reason"])) for row in refused[:MOST_REFUSED]]
    said = [retold(reason) if name in reason else f"{name}: {retold(reason)}" for name, reason in pairs]
    count = tr_n("{count} file is not used:", "{count} files are not used:", len(refused))
    return paragraph(count) + bullets(said) + _more(len(refused) - MOST_REFUSED)


def _more(count: int) -> str:
    return paragraph(tr("And {count} more.", count=f"{count:,}"), quiet=True) if count > 0 else ""


def _files(files: Sequence[Row]) -> str:
    shown = list(files)
    if len(files) > MOST_FILES:
        grades = list(VERDICTS)
        shown.sort(key=lambda file: -grades.index(file["verdict"]))
    listed = f'<ul class="tm-files">{"".join(_file(file) for file in shown[:MOST_FILES])}</ul>'
    if len(files) < FOLDED_FROM:
        return listed
    worth_a_look = sum(file["verdict"] != "good" for file in files)
    told = tr_n("{count} file, all good", "{count} files, all good", len(files))
    if worth_a_look:
        told = tr("{count} files, {more} worth a look", count=f"{len(files):,}", more=f"{worth_a_look:,}")
    more = _more(len(files) - MOST_FILES)
    return f"<details><summary>{escape(told)}</summary>{listed}{more}</details>"


def _file(file: Row) -> str:
    word, tone = VERDICTS.get(str(file["verdict"]), (str(file["verdict"]), ""))
    speech, length = duration(file["speech_s"]), duration(file["seconds"])
    spoken = tr("{speech} of speech in {length}", speech=speech, length=length)
    head = _between(f"<strong>{escape(str(file['name']))}</strong>", chip(retold(word), tone))
    reason = f"<div>{escape(retold(str(file['reason'])))}</div>" if file["reason"] else ""
    said = reason + quiet_note(file)
    return f'<li>{head}{said}<div class="tm-quiet">{escape(spoken)}</div></li>'


def quiet_note(file: Row) -> str:
    """Return what is worth knowing of how a recording was read; nothing for most."""
    return f'<div class="tm-quiet">{escape(retold(str(file["note"])))}</div>' if file.get("note") else ""


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


def of_now(component: Any) -> Any:  # noqa: ANN401  # classes of Gradio's have no types
    """Make of a component with choices one that takes what it is sent, also when it is gone from the list.

    The list that a page shows may be older than the one that the server knows, or the server new. Listeners
    look up what they are given, and say in a sentence that it is gone.
    """

    def preprocess(self: object, payload: object) -> str | None:
        if payload is None or isinstance(payload, str):
            return payload
        raise gr.Error(tr("What was chosen is no entry of the list; choose again."), print_exception=False)

    # Gradio's own metaclass would write a file of stubs beside this one.
    names = {"preprocess": preprocess, "__module__": component.__module__}
    return ABCMeta.__new__(type(component), component.__name__, (component,), names)


ChoiceList, ChoiceDropdown = of_now(gr.Radio), of_now(gr.Dropdown)


def choice_list(label: str, elem_id: str) -> gr.Radio:
    """Return a list to choose from, one line for each entry; hidden while it is empty."""
    return ChoiceList(label=label, choices=[], visible=False, elem_id=elem_id, elem_classes=["tm-list"])


def hidden_button(text: str, elem_id: str, **look: Any) -> gr.Button:  # noqa: ANN401
    return gr.Button(text, visible=False, elem_id=elem_id, **look)


def waveform(*, source: bool) -> gr.WaveformOptions:
    """Return how a waveform is drawn: grey for a source and teal for a voice."""
    return gr.WaveformOptions(waveform_progress_color="#8a8f98" if source else "#0f766e")


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
