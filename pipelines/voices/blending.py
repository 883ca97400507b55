"""Blends: a new voice of two to four, each with its share; its card names them and what was stated of each.

A child process reads the parents' files and makes the blend's (`rvc/blend.py`). Of a parent that is a blend
itself, its own parents are named: a card tells whose voices it is made of, and who permitted each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.store.records import Caller, Row, checked_name, now
from pipelines.users.limits import Spend, require_room
from pipelines.voices import bundle as bundles
from pipelines.voices.library import Library
from pipelines.voices.pitch import NAMES
from rvc.engine.card import FORMAT_VERSION
from rvc.errors import CheckpointError, ConfigError
from rvc.sandbox import ChildDiedError, TooSlowError, on_behalf_of, run_sandboxed

FEWEST, MOST = 2, 4
TWICE = "One voice is in the blend twice; name each once, and give it a larger share."
LIMITS = {"memory_bytes": 4_000_000_000, "cpu_s": 300, "file_bytes": 1_100_000_000}
WALL_S = 600.0
_ROUNDING = 0.005  # by which shares may miss 1
_ALIKE = {  # entries of a card in which all have to agree
    "engine": "engine", "content_encoder": "content encoder", "version": "version",
    "sample_rate_hz": "sample rate", "content_dim": "content vectors", "uses_f0": "use of pitch",
}  # fmt: skip

Card = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Parent:
    folder: Path
    name: str
    share: float  # 0..1
    card: Card


def blend_voices(  # noqa: PLR0913  # where, who, of what, called what, and room
    library: Library,
    caller: Caller,
    model_ids: Sequence[str],
    shares: Sequence[float],
    model_name: str,
    spend: Spend,
) -> Row:
    """Blend voices that the caller may use and return the new one; else nothing is left behind.

    The shares, one for each, are together 1; it takes a child process and some seconds. ConfigError if
    voices or shares do not fit each other; LimitError from `spend`, which asks for room on the disk.
    """
    name = checked_name(model_name, "voice")
    parents = [
        _parent(library, caller, model_id, share) for model_id, share in _checked(model_ids, shares).items()
    ]
    _require_alike(parents)
    card = joined_card(parents)
    with on_behalf_of(caller.user_id), library.staging("incoming") as bundle:
        asked = max(bundles.size_bytes(parent.folder) for parent in parents)
        spend(asked)
        require_room(bundle, asked, "this voice")
        try:
            _run(parents, name, bundle)
        except CheckpointError:
            for model_id in model_ids:  # that one of them was deleted meanwhile is a better reason
                library.folder(caller, model_id)
            raise
        said = json.loads((bundle / bundles.CARD).read_text(encoding="utf-8"))
        bundles.write_card(bundle, said | card | {"name": name, "created_at": now()})
        spend(bundles.size_bytes(bundle) - asked)
        return library.take_in(caller, bundle, model_name=name)


def joined_card(parents: Sequence[Parent]) -> Card:
    """Return what the card of a blend says besides its engine: of whom it is, and what follows from that.

    The pitch is the mean in semitones, the tone that in dB, each if it is known of all. Permission and
    licence are those of all together, none where one has none.
    """
    shares, cards = [parent.share for parent in parents], [parent.card for parent in parents]
    origins = _origins(parents)
    card: Card = {"format_version": FORMAT_VERSION, "parents": origins}
    if all(one.get("f0") for one in cards):
        logarithms = {name: [math.log(one["f0"][name]) for one in cards] for name in NAMES}
        card["f0"] = {name: math.exp(_mean(shares, each)) for name, each in logarithms.items()}
    if all(one.get("tone_db") for one in cards):
        bands = zip(*(one["tone_db"] for one in cards), strict=True)
        card["tone_db"] = [round(_mean(shares, band), 2) for band in bands]
    languages = {bundles.language(one) for one in cards}
    if len(languages) == 1 and (language := languages.pop()):
        card["language"] = language
    if all(one["consent"] for one in origins):
        statements = [f"{one['name']}: {one['consent']['statement'].rstrip('.')}" for one in origins]
        card["consent"] = {"statement": "; ".join(statements)}
    if any(one.get("locked") is True for one in cards):
        card["locked"] = True
    if all(one["licence"] for one in origins):
        card["licence"] = "; ".join(dict.fromkeys(one["licence"] for one in origins))
    return card


def _checked(model_ids: object, shares: object) -> dict[str, float]:
    """Return the share of each id; a client may have sent anything."""
    count = len(model_ids) if isinstance(model_ids, list | tuple) else 0
    if not FEWEST <= count <= MOST:
        raise ConfigError(f"A blend is made of {FEWEST} to {MOST} voices, not of {count}; choose so many.")
    assert isinstance(model_ids, list | tuple)
    if len(set(map(str, model_ids))) < count:
        raise ConfigError(TWICE)
    given = shares if isinstance(shares, list | tuple) else []
    if len(given) != count or not all(map(_is_share, given)) or abs(sum(given) - 1) > _ROUNDING:
        raise ConfigError(
            "The shares do not fit the voices; give one number above 0 for each, together 1, such as 0.5 and "
            "0.5."
        )
    return {model_id: share / sum(given) for model_id, share in zip(model_ids, given, strict=True)}


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1


def _parent(library: Library, caller: Caller, model_id: str, share: float) -> Parent:
    folder, row = library.folder(caller, model_id), library.get(caller, model_id)
    return Parent(folder=folder, name=row["model_name"], share=share, card=bundles.read_card(folder))


def _require_alike(parents: Sequence[Parent]) -> None:
    first = parents[0]
    for other in parents[1:]:
        for name, called in _ALIKE.items():
            one, another = first.card.get(name), other.card.get(name)
            if one != another:
                raise ConfigError(
                    f"{first.name} and {other.name} differ in their {called} ({one} and {another}), so they "
                    "cannot be blended; choose voices that agree."
                )


def _origins(parents: Sequence[Parent]) -> list[Card]:
    """Return whose voices a blend is made of, each once: of parents that are blends, their parents."""
    origins: dict[str, Card] = {}
    for parent in parents:
        own = bundles.parents(parent.card) or [
            {
                "name": parent.name,
                "share": 1.0,
                "fingerprint": bundles.fingerprint(parent.folder),
                "consent": bundles.consent(parent.card),
                "licence": bundles.licence(parent.card),
            }
        ]
        whole = sum(one["share"] for one in own)
        for one in own:
            known = origins.setdefault(one["fingerprint"], one | {"share": 0.0})
            known["share"] += parent.share * one["share"] / whole
    if len(origins) > bundles.MOST_PARENTS:
        raise ConfigError(
            f"These voices are blends of {len(origins)} voices in all, and a blend is made of at most "
            f"{bundles.MOST_PARENTS}; leave one out."
        )
    return [one | {"share": round(one["share"], 4)} for one in origins.values()]


def _mean(shares: Iterable[float], values: Iterable[float]) -> float:
    return sum(share * value for share, value in zip(shares, values, strict=True))


def _run(parents: Sequence[Parent], name: str, folder: Path) -> None:
    voices = [{"folder": str(one.folder.resolve()), "name": one.name, "share": one.share} for one in parents]
    try:
        run_sandboxed("rvc.blend", {"voices": voices, "name": name, "folder": str(folder)} | LIMITS, WALL_S)
    except TooSlowError as error:
        raise CheckpointError(
            f"Blending takes more than {WALL_S / 60:.0f} minutes; try again when the server has less to do."
        ) from error
    except ChildDiedError as error:
        raise CheckpointError(
            "One of the voices cannot be read within its limits of memory, time and disk, so it is damaged "
            "or too large; blend others."
        ) from error
