"""Two melodies drawn over each other, as SVG: time to the right, notes upwards."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipelines.store.records import Row
from ui.look.html import paragraph
from ui.look.language import tr
from ui.look.pitch_words import nearest_note, note_number

Contour = Sequence[float | None]
WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 26
WIDEST_GAP = 3  # steps without pitch over which a line goes on
SHORTEST_AXIS = 12.0  # semitones


def contours_figure(contours: Row, source: str, result: str) -> str:
    """Return both melodies of `pitch_contours`, drawn, with their names and their ranges in words."""
    lines = [[None if hz is None else note_number(hz) for hz in contours[key]] for key in CLASSES]
    voiced = [note for line in lines for note in line if note is not None]
    if not voiced:
        return paragraph(tr("No pitch was found in either of the two, so there is no melody to draw."))
    middle, half = (max(voiced) + min(voiced)) / 2, max(max(voiced) - min(voiced) + 2, SHORTEST_AXIS) / 2
    low, high = middle - half, middle + half
    seconds = max(1, *map(len, lines)) * float(contours["step_s"])
    drawn = _notes(low, high) + _times(seconds)
    for key, line in zip(CLASSES, lines, strict=True):
        points = [
            (_x(number * float(contours["step_s"]), seconds), note and _y(note, low, high))
            for number, note in enumerate(line)
        ]
        drawn += f'<path class="{CLASSES[key]}" d="{_path(points)}"/>'
    legend = "".join(
        f'<li class="{css}"><strong>{escape(name)}</strong> {escape(_range(line))}</li>'
        for css, name, line in zip(CLASSES.values(), (source, result), lines, strict=True)
    )
    measured = tr("Pitch as it is measured in the sound of both; gaps are breath and consonants.")
    said = escape(tr("The pitch of both recordings over time"))
    return (
        f'<figure class="tm-contours"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
        f"{drawn}</svg><figcaption><ul>{legend}</ul>"
        f"{paragraph(measured, quiet=True)}</figcaption></figure>"
    )


CLASSES = {"source_hz": "tm-of-source", "result_hz": "tm-of-result"}


def _range(line: Contour) -> str:
    notes = sorted(note for note in line if note is not None)
    if not notes:
        return tr("no pitch found")
    low, middle, high = (notes[int(share * (len(notes) - 1))] for share in (0.05, 0.5, 0.95))
    named = {"low": nearest_note(low), "middle": nearest_note(middle), "high": nearest_note(high)}
    return tr("{low} to {high}, mostly around {middle}", **named)


def _x(second: float, seconds: float) -> float:
    return LEFT + second / seconds * (WIDTH - LEFT - RIGHT)


def _y(note: float, low: float, high: float) -> float:
    return TOP + (high - note) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    """Return the lines of an SVG path; it is lifted where there is no pitch for a while."""
    commands, gap = [], WIDEST_GAP + 1
    for x, y in points:
        if y is None:
            gap += 1
            continue
        commands.append(f"{'M' if gap > WIDEST_GAP else 'L'}{x:.1f} {y:.1f}")
        gap = 0
    return "".join(commands)


def _notes(low: float, high: float) -> str:
    """Return a line and a name for each C, and for more notes where the axis is short."""
    span = high - low
    steps = (0, 2, 4, 5, 7, 9, 11) if span <= 13 else (0, 4, 7) if span <= 36 else (0,)
    numbers = [n for n in range(int(low) + 1, int(high) + 1) if n % 12 in steps]
    return "".join(
        f'<line class="tm-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(n, low, high):.1f}" '
        f'y2="{_y(n, low, high):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{_y(n, low, high) + 4:.1f}" text-anchor="end">{nearest_note(n)}</text>'
        for n in numbers
    )


def _times(seconds: float) -> str:
    every = next(every for every in (1, 2, 5, 10, 15) if seconds / every <= 8 or every == 15)
    return "".join(
        f'<text x="{_x(second, seconds):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(seconds) + 1, every)
    )
