"""What a report says of its files: what holds for several is said once, with their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ui.look.language import tr, tr_n
from ui.look.wording import Row

MOST_NAMES = 12
# A measured number: sentences that differ in such alone say the same.
_MEASURED = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-\d+)?(?= (?:kHz|dB|%))")


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A sentence about several files."""

    sentence: str
    names: list[str]
    is_fine: bool  # whether it is praise, of files that need no look

    @property
    def about(self) -> str:
        """Which files it is about, and how many."""
        count = len(self.names)
        if self.is_fine:
            return tr_n("{count} recording", "{count} recordings", count=count)
        listed = ", ".join(self.names[:MOST_NAMES])
        if count <= MOST_NAMES:
            return tr_n(
                "{count} recording: {names}", "{count} recordings: {names}", count=count, names=listed
            )
        more = f"{count - MOST_NAMES:,}"
        return tr("{count} recordings: {names} and {more} more", count=f"{count:,}", names=listed, more=more)


def shared_sentences(files: Sequence[Row]) -> tuple[list[Shared], list[list[str]]]:
    """Divide what is said of files: what is said of several, worst first, and of each what is its alone."""
    about: dict[str, list[tuple[str, Row]]] = {}
    for file in files:
        for sentence in _said_of(file):
            about.setdefault(_form(sentence, file), []).append((sentence, file))
    several = {form: said for form, said in about.items() if len(said) > 1}
    shared = [
        Shared(
            sentence=_merged([sentence for sentence, _ in said]),
            names=[str(file["name"]) for _, file in said],
            is_fine=all(file["verdict"] == "good" for _, file in said),
        )
        for said in several.values()
    ]
    own = [[said for said in _said_of(file) if _form(said, file) not in several] for file in files]
    return sorted(shared, key=lambda one: (one.is_fine, -len(one.names))), own


def _said_of(file: Row) -> list[str]:
    return list(file.get("reasons") or [str(file["reason"])])  # earlier versions kept them in one text


def _form(sentence: str, file: Row) -> str:
    return sentence if file.get("duplicate_of") else _MEASURED.sub("#", sentence)


def _merged(sentences: Sequence[str]) -> str:
    """Return one sentence for several that differ in numbers alone: each number as from..to."""
    columns = list(zip(*(_MEASURED.findall(sentence) for sentence in sentences), strict=False))
    spans = []
    for numbers in columns:
        low, high = min(numbers, key=float), max(numbers, key=float)
        spans.append(low if low == high else f"{low} … {high}" if low.startswith("-") else f"{low}–{high}")  # noqa: RUF001
    wanted = iter(spans)
    return _MEASURED.sub(lambda match: next(wanted, match.group()), sentences[0])
