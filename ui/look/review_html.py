"""The list of slices as HTML: each with its waveform, what speaks against it, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ui.look.html import chip, pressed_as
from ui.look.language import tr, tr_n
from ui.look.wording import Row, duration

MOST_DB, FLOOR = 255, 6  # of a peak, and what the flattest waveform is drawn to


def review_list(page: Row, *, only: str, sort: str, said: str, undoable: bool) -> str:
    """Return what `Reviews.list` gave, with its tools; `said` is what has just been done."""
    head = f"<h3>{escape(tr('The slices'))}</h3><span>{escape(counts(page))}</span>"
    intro = f'<p class="tm-quiet">{escape(_intro())}</p>'
    undo = _button("undo", tr("Undo"), disabled=not undoable)
    live = f'<span class="tm-said" role="status" aria-live="polite">{escape(said)}</span>'
    if page["rows"]:
        rows = "".join(_slice(row) for row in page["rows"])
        listed = f'<ul class="tm-slices" role="list" aria-label="{escape(tr("Slices"))}">{rows}</ul>'
    else:
        listed = f"<p>{escape(_none(only))}</p>"
    last = f'<div class="tm-review-last">{live}{undo}</div>'
    above = f'<div class="tm-review-head">{head}</div>{intro}{_tools(page, only, sort)}{last}'
    return f'<section class="tm-review">{above}{listed}{_pages(page)}</section>'


def counts(page: Row) -> str:
    """Return how many slices there are, how much of them is left, and how many are rejected."""
    all_of_them = tr_n(
        "{count} slice, {length}",
        "{count} slices, {length}",
        count=page["slices"],
        length=duration(page["seconds"]),
    )
    if not page["rejected"]:
        return all_of_them
    return tr(
        "{slices}; {count} rejected, {left} left",
        slices=all_of_them,
        count=f"{page['rejected']:,}",
        left=duration(page["left_s"]),
    )


def _intro() -> str:
    return tr(
        "Listen to what looks doubtful, and reject what the voice should not learn. "
        "On a row, Space plays and R rejects."
    )


def _none(only: str) -> str:
    if only == "rejected":
        return tr("Nothing is rejected.")
    return tr("Nothing looks doubtful.") if only == "doubtful" else tr("There are no slices.")


def _tools(page: Row, only: str, sort: str) -> str:
    filters = [
        ("all", tr("All ({count})", count=f"{page['slices']:,}")),
        ("doubtful", tr("Doubtful ({count})", count=f"{page['doubtful']:,}")),
        ("rejected", tr("Rejected ({count})", count=f"{page['rejected']:,}")),
    ]
    sorts = [("doubt", tr("Most doubtful first")), ("order", tr("As recorded"))]
    shown = _group(tr("Show"), "only", filters, only) + _group(tr("Sort"), "sort", sorts, sort)
    return f'<div class="tm-review-tools">{shown}</div>'


def _group(name: str, act: str, choices: Sequence[tuple[str, str]], chosen: str) -> str:
    buttons = "".join(_button(act, label, which=value, pressed=value == chosen) for value, label in choices)
    return f'<div role="group" aria-label="{escape(name)}">{buttons}</div>'


def _pages(page: Row) -> str:
    first, count, matching = page["offset"], len(page["rows"]), page["matching"]
    if matching <= count:
        return ""
    last = first + count
    where = tr("{first} to {last} of {all}", first=f"{first + 1:,}", last=f"{last:,}", all=f"{matching:,}")
    back = _button("page", tr("Earlier"), which="-1", disabled=first == 0)
    on = _button("page", tr("More"), which="1", disabled=last >= matching)
    return f'<div class="tm-review-pages">{back}<span>{escape(where)}</span>{on}</div>'


def _button(  # noqa: PLR0913
    act: str, label: str, *, which: str = "", look: str = "", name: str = "",
    pressed: bool | None = None, disabled: bool = False,
) -> str:  # fmt: skip
    facts = f' class="{look}"' if look else ""
    facts += f' aria-label="{escape(name)}"' if name else ""
    facts += "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    facts += " disabled" if disabled else ""
    return f"<button {pressed_as('act', act=act, id=which)}{facts}>{escape(label)}</button>"


def _slice(row: Row) -> str:
    out, whole, which = bool(row["rejected"]), bool(row["file_rejected"]), str(row["id"])
    where = tr("{file}, at {minutes}", file=row["file"], minutes=_clock(row["start_s"]))
    length = duration(row["seconds"])
    level = tr("{level} dB", level=f"{row['level_db']:.0f}")
    play, stop = tr("Play {slice}", slice=where), tr("Stop {slice}", slice=where)
    turn = tr("Take back") if out else tr("Reject")
    turn_name = tr("Take {slice} back", slice=where) if out else tr("Reject {slice}", slice=where)
    whole_turn = tr("Take this whole file back") if whole else tr("Reject this whole file")
    chips = (chip(tr("Rejected"), "bad") if out else "") + "".join(
        chip(reason_in_words(reason), "warn") for reason in row["reasons"]
    )
    state = tr("rejected") if out else ", ".join(reason_in_words(reason) for reason in row["reasons"])
    label = ", ".join(part for part in (where, length, state) if part)
    look = ' class="tm-out"' if out else ""
    return (
        f'<li tabindex="0" data-id="{escape(which)}"{look} '
        f'aria-label="{escape(label)}" aria-keyshortcuts="Space R">'
        f'<button type="button" class="tm-hear" data-play="{escape(play)}" '
        f'data-stop="{escape(stop)}" aria-label="{escape(play)}">▶</button>'
        f"{waveform(row['peaks'])}"
        f"{_button('restore' if out else 'reject', turn, which=which, look='tm-turn', name=turn_name)}"
        f'<div class="tm-what"><span class="tm-where">{escape(where)}</span>'
        f'<span class="tm-quiet">{escape(length)} · {escape(level)}</span>{chips}'
        f"{_button('restore_file' if whole else 'reject_file', whole_turn, which=which, look='tm-plain')}"
        "</div></li>"
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def waveform(peaks: Sequence[int]) -> str:
    """Return a waveform, drawn as high as its loudest moment."""
    top = max([*peaks, FLOOR])
    highs = [1 + 18 * peak / top for peak in peaks]
    lines = "".join(f"M{n} {20 - high:.0f}v{2 * high:.0f}" for n, high in enumerate(highs))
    box = f'viewBox="-1 0 {len(peaks) + 1} 40" preserveAspectRatio="none"'
    return (
        f'<svg class="tm-wave" {box} aria-hidden="true">'
        f'<rect x="-1" y="0" height="40"></rect><path d="{lines}"></path></svg>'
    )


def reason_in_words(reason: str) -> str:
    """Return why a slice is doubtful, for a chip; what a later version knows is left as it is."""
    words = {
        "quiet": tr("much quieter than the rest"),
        "loud": tr("much louder than the rest"),
        "noisy": tr("noisy"),
        "clipped": tr("cut off at the top"),
        "low": tr("far lower than usual"),
        "high": tr("far higher than usual"),
        "pauses": tr("mostly pauses"),
        "voiceless": tr("hardly any voice in it"),
        "short": tr("very short"),
        "other_speaker": tr("perhaps another speaker"),
    }
    return words.get(reason, reason)
