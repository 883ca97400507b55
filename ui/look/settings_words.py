"""The settings of a conversion in words."""

from __future__ import annotations

from pipelines.store.records import Row
from rvc.engine.options import ENGINES, LITE_DEFAULTS
from ui.look.language import language_name, tr
from ui.look.pitch_words import EXACT, moved


def settings_in_words(settings: Row, engine: str) -> list[str]:
    """Return what of a conversion's settings differs from what is usual for the voice's engine."""
    usual, words = ENGINES.get(engine, LITE_DEFAULTS), []
    semitones = settings.get("transpose_semitones")
    if semitones is not None:
        words.append(tr("in its own key") if abs(semitones) < EXACT else moved(float(semitones)))
    for key, text in (
        ("index_rate", tr("likeness {value}")),
        ("protect", tr("likeness of breath {value}")),
        ("follow_loudness", tr("loudness followed {value}")),
    ):
        value = settings.get(key)
        if value is not None and abs(float(value) - float(getattr(usual, key))) > 1e-6:
            words.append(text.format(value=f"{float(value):g}"))
    for key, text in (
        ("reduce_noise", tr("cleaned first")),
        ("voice_gain_db", tr("voice {value} dB")),
        ("backing_gain_db", tr("backing {value} dB")),
        ("reverb", tr("reverb {value}")),
    ):
        if value := settings.get(key):
            words.append(text.format(value=f"{float(value):g}"))
    if (form := settings.get("format")) and form != "wav":
        words.append(tr("as {format}", format=form))
    if estimator := settings.get("f0_estimator"):
        words.append(tr("pitch found by {estimator}", estimator=estimator))
    if (speed := settings.get("speed")) and abs(float(speed) - 1.0) > 1e-6:
        words.append(tr("at speed {value}", value=f"{float(speed):g}"))
    if language := settings.get("language"):
        words.append(language_name(language))
    return words
