"""What was found of a recording's marks, in sentences: what each is, and what it proves."""

from __future__ import annotations

from html import escape

from pipelines.store.records import Row
from ui.look.html import card, chip, paragraph
from ui.look.language import tr
from ui.look.wording import duration

KINDS = ("watermark", "manifest", "tags")
SHORTEST_S = 1.0  # in which a watermark can be looked for


def with_sentences(found: Row) -> Row:
    """Return what was found with "marked" and a "sentence"; of each part what it says and proves."""
    said = {kind: {"sentence": _says(found, kind), "proves": _proves(found, kind)} for kind in KINDS}
    parts = {kind: found[kind] | said[kind] for kind in KINDS}
    marked = is_marked(found)
    return found | parts | {"marked": marked, "sentence": _whole(found, marked=marked)}


def is_marked(found: Row) -> bool:
    """Whether anything in it says that it is synthetic, true or not."""
    manifest, tags = found["manifest"], found["tags"]
    return bool(found["watermark"]["found"] or manifest.get("synthetic") or tags["found"])


def marks_card(found: Row) -> str:
    """Return the card of a recording that was examined."""
    told = with_sentences(found)
    parts = ""
    for kind, title in zip(KINDS, (tr("Watermark"), tr("Signed manifest"), tr("Tags")), strict=True):
        part = told[kind]
        state = chip(tr("found"), "warn") if part["found"] else chip(tr("none"))
        parts += (
            f'<div class="tm-mark"><div class="tm-row"><strong>{escape(title)}</strong>{state}</div>'
            f"{paragraph(part['sentence'])}{paragraph(part['proves'], quiet=True)}</div>"
        )
    body = paragraph(told["sentence"]) + parts
    return card(str(told["name"]), body, tone="warn" if told["marked"] else "")


def _whole(found: Row, *, marked: bool) -> str:
    said = (
        tr("It is marked as synthetic.")
        if marked
        else tr("No mark was found. It may be synthetic all the same: marks get lost, or never were there.")
    )
    if found["cut"]:
        said += " " + tr("Only the first {length} were listened to.", length=duration(found["seconds"]))
    return said


def _says(found: Row, kind: str) -> str:
    return {"watermark": _watermark, "manifest": _manifest, "tags": _tags}[kind](found[kind])


def _watermark(part: Row) -> str:
    if part["seconds"] < SHORTEST_S:
        return tr("It is too short to look for one.")
    if not part["found"]:
        return tr("The sound does not have Timbre's watermark.")
    if 0 < part["marked_s"] < part["seconds"] - 1:
        parts = {"marked": duration(part["marked_s"]), "whole": duration(part["seconds"])}
        return tr("Timbre's watermark is in the sound: clearly in {marked} of {whole}.", **parts)
    return tr("Timbre's watermark is in the sound.")


def _manifest(part: Row) -> str:
    if not part["found"]:
        return tr("The file holds no C2PA manifest.")
    if not part["read"]:
        return tr("The file seems to hold a C2PA manifest, which cannot be read here.")
    signer = part["signer"] or tr("somebody who gives no name")
    maker = part["generator"] or tr("an unnamed program")
    if part["state"] == "Invalid":
        return tr("Its C2PA manifest, signed by {signer}, does not fit the file.", signer=signer)
    if part["synthetic"]:
        return tr("Signed by {signer}: made by {program}, and synthetic.", signer=signer, program=maker)
    return tr(
        "Signed by {signer}: made by {program}; of synthetic sound it says nothing.",
        signer=signer,
        program=maker,
    )


def _tags(part: Row) -> str:
    record = part["record"]
    if record:
        values = {name: record.get(name, "?") for name in ("voice_name", "program", "date")}
        said = tr("Synthetic speech in the voice {voice_name}, made by {program}, {date}.", **values)
        if before := record.get("made_from"):
            said += " " + tr("Of a recording that was marked itself: {marks}.", marks="; ".join(before))
        return said
    if part["said"]:
        return "; ".join(f"{name}: {text}" for name, text in part["said"].items())
    return tr("No tag of the file speaks of synthetic sound.")


def _proves(found: Row, kind: str) -> str:
    part = found[kind]
    if kind == "watermark":
        return (
            tr(
                "A program with this watermark has written the sound, or somebody laid it on: its pattern is "
                "public. It does not say who, when, or in whose voice."
            )
            if part["found"]
            else tr("That proves nothing: others have other marks or none, and strong changes remove it.")
        )
    if kind == "tags":
        return (
            tr("Anybody can write, change and remove tags.")
            if part["found"]
            else tr("That proves nothing: most programs drop tags.")
        )
    if not part["found"]:
        return tr("That proves nothing: whatever sends or edits a file drops it.")
    if not part["read"]:
        return tr("What it says, and whether it is genuine, is not known here.")
    if part["state"] == "Invalid":
        return tr("The file or the manifest was changed after it was signed: do not believe what it says.")
    return tr("The file is as it was signed. Who the signer is was not checked: anybody can make a key.")
