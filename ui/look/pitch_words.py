"""Pitch in the words of a singer: the names of notes, and of intervals."""

from __future__ import annotations

import math

from ui.look.language import tr
from ui.look.wording import Row, decimal

_NOTES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
EXACT = 0.05  # semitones from a whole number, which nobody hears
_A4_HZ, _A4 = 440.0, 69  # in Hz, and as MIDI counts


def note_number(hz: float) -> float:
    """Return a pitch in semitones, as MIDI counts them: 60 is middle C."""
    return _A4 + 12 * math.log2(hz / _A4_HZ)


def nearest_note(number: float) -> str:
    """Return the name of the note that is nearest to a number of MIDI, middle C being C4."""
    octave, step = divmod(round(number), 12)
    return f"{_NOTES[step]}{octave - 1}"


def note_name(hz: float) -> str:
    return nearest_note(note_number(hz))


def pitch_range(voice: Row) -> str:
    """Return between which notes, and Hz, a voice mostly lies; that it is not known if it is not."""
    f0 = voice.get("f0") or {}
    if voice.get("uses_f0") is False:
        return tr("follows no melody")
    if not f0.get("low_hz") or not f0.get("high_hz"):
        return tr("pitch not known yet")
    hz = {name: f"{float(f0[name]):.0f}" for name in ("low_hz", "high_hz")}
    return tr("{notes} ({low_hz} to {high_hz} Hz)", notes=note_range(voice), **hz)


def note_range(voice: Row) -> str:
    """Return between which notes a voice mostly lies; "" if that is not known."""
    f0 = voice.get("f0") or {}
    if not f0.get("low_hz") or not f0.get("high_hz"):
        return ""
    return tr("{low} to {high}", low=note_name(float(f0["low_hz"])), high=note_name(float(f0["high_hz"])))


def interval(semitones: int) -> str:
    """Return what a singer calls a distance of so many semitones, at least one."""
    names = (
        tr("a semitone"), tr("a whole tone"), tr("a minor third"), tr("a major third"), tr("a fourth"),
        tr("a tritone"), tr("a fifth"), tr("a minor sixth"), tr("a major sixth"), tr("a minor seventh"),
        tr("a major seventh"), tr("one octave"),
    )  # fmt: skip
    if semitones <= 12:
        return names[semitones - 1]
    if semitones == 24:
        return tr("two octaves")
    if semitones > 24:
        return tr("{count} semitones", count=semitones)
    return tr("an octave and {interval}", interval=names[semitones - 13])


def moved(semitones: float) -> str:
    """Return how far a recording was moved, by its name where it is an interval, and by its number."""
    whole = abs(round(semitones))
    number = decimal(abs(semitones), 0 if abs(abs(semitones) - whole) < EXACT else 1)
    if abs(abs(semitones) - whole) < EXACT and 1 < whole <= 24:
        if semitones > 0:
            return tr("{interval} up ({number} semitones)", interval=interval(whole), number=number)
        return tr("{interval} down ({number} semitones)", interval=interval(whole), number=number)
    if number == "1":
        return tr("a semitone up") if semitones > 0 else tr("a semitone down")
    if semitones > 0:
        return tr("{number} semitones up", number=number)
    return tr("{number} semitones down", number=number)


def moved_by(semitones: object) -> str:
    """Return what a setting of the pitch by hand, whatever was sent as one, does to a recording."""
    number = semitones if isinstance(semitones, int | float) and math.isfinite(semitones) else 0
    size = abs(round(number))
    if not size:
        return tr("The recording keeps its own pitch, and a song its key.")
    if number > 0:
        said = tr("{interval} higher than it was recorded.", interval=interval(size))
    else:
        said = tr("{interval} lower than it was recorded.", interval=interval(size))
    return said[:1].upper() + said[1:]
