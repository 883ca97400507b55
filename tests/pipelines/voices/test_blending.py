"""Blends in the library: what their cards say of their parents, and what is refused and leaves nothing."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices import blending
from pipelines.voices.blending import Parent, blend_voices, joined_card
from pipelines.voices.bundle import MOST_PARENTS, parents
from pipelines.voices.library import Library
from rvc import sandbox
from rvc.errors import LimitError, RvcError
from tests.toy_worker import write_voice

ME, OTHER = Caller("me"), Caller("other")
KATHLEEN, FLEMISH = "builtin-kathleen", "builtin-flemishguy"
SAID = {"statement": "This is my voice.", "given_at": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """With the voices that ship, which the built-in engine really speaks with."""
    registry = Registry(tmp_path / "data")
    yield Library(tmp_path / "data", registry)
    registry.close()


def free(_: int) -> None:
    """Spend as much as is asked for."""


def toy(library: Library, folder: Path, name: str, caller: Caller = ME, **card: object) -> str:
    bundle = write_voice(folder / name, name, **card)
    return str(library.take_in(caller, bundle, model_name=name)["id"])


def parent(folder: Path, name: str, share: float, **card: Any) -> Parent:  # noqa: ANN401 -- a card's
    made = write_voice(folder / name, name, **card)
    (made / "model.safetensors").write_text(name)  # weights of its own
    document = json.loads((made / "card.json").read_text(encoding="utf-8"))
    return Parent(folder=made, name=name, share=share, card=document)


@pytest.mark.timeout(300)  # two children load torch, maybe beside other work
def test_a_blend_is_a_voice_that_names_its_parents_wherever_it_goes(library: Library, tmp_path: Path) -> None:
    row = blend_voices(library, ME, [KATHLEEN, FLEMISH], [0.75, 0.25], "Both", free)
    assert (row["origin"], row["model_name"], row["engine"]) == ("blended", "Both", "lite")
    assert [(one["name"], one["share"]) for one in row["parents"]] == [
        ("Kathleen", 0.75),
        ("Flemish guy", 0.25),
    ]
    statements = [one["consent"]["statement"] for one in row["parents"]]
    assert all(statement.rstrip(".") in row["consent"]["statement"] for statement in statements)
    again = library.import_voice(ME, [library.export_bundle(ME, row["id"])])
    assert again["origin"] == "imported"
    assert {name: again[name] for name in ("parents", "consent", "f0", "model_name")} == {
        name: row[name] for name in ("parents", "consent", "f0", "model_name")
    }
    deep = blend_voices(library, ME, [again["id"], KATHLEEN], [0.5, 0.5], "Deep", free)
    assert [(one["name"], one["share"]) for one in deep["parents"]] == [
        ("Kathleen", 0.875), ("Flemish guy", 0.125)
    ]  # fmt: skip


def test_what_cannot_be_blended_is_refused_in_a_sentence_and_leaves_nothing(
    library: Library, tmp_path: Path
) -> None:
    mine, theirs = toy(library, tmp_path, "Owl"), toy(library, tmp_path, "Wren", OTHER)
    gone = toy(library, tmp_path, "Crow")
    fast = toy(library, tmp_path, "Swift", sample_rate_hz=48_000)
    library.delete(ME, gone)
    before = sorted(tmp_path.rglob("*"))
    both = [0.5, 0.5]
    for ids, shares, name, said in (
        ([mine, KATHLEEN], both, "X", "Owl and Kathleen differ in their engine (toy and lite)"),
        ([mine, fast], both, "X", "Owl and Swift differ in their sample rate (24000 and 48000)"),
        ([mine, theirs], both, "X", "There is no voice"),
        ([mine, gone], both, "X", "The voice Crow was deleted; choose another."),
        ([mine, mine], both, "X", "One voice is in the blend twice"),
        ([mine], [1.0], "X", "made of 2 to 4 voices, not of 1"),
        ([mine] * 5, [0.2] * 5, "X", "made of 2 to 4 voices, not of 5"),
        (None, both, "X", "made of 2 to 4 voices, not of 0"),
        ([KATHLEEN, FLEMISH], both, " ", "The voice has no name"),
        *(
            ([KATHLEEN, FLEMISH], shares, "X", "The shares do not fit the voices")
            for shares in (None, 1, [], [0.5], [0.5, 0.6], [1.5, -0.5], [1, 0], ["a", "b"], [0.5, math.nan],
                           [0.3, 0.3, 0.4], [True, False], {"a": 0.5})
        ),
    ):  # fmt: skip
        with pytest.raises(RvcError) as caught:
            blend_voices(library, ME, ids, shares, name, free)  # type: ignore[arg-type]
        assert said in str(caught.value)
    with pytest.raises(LimitError):
        blend_voices(library, ME, [KATHLEEN, FLEMISH], both, "X", no_room)
    assert sorted(tmp_path.rglob("*")) == before
    assert [row["model_name"] for row in library.list(ME) if not row["builtin"]] == ["Swift", "Owl"]


def no_room(_: int) -> None:
    raise LimitError("There is no room for this.")


@pytest.mark.timeout(300)
def test_voices_that_the_child_refuses_leave_nothing_and_a_deleted_one_is_the_reason(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [toy(library, tmp_path, name) for name in ("Owl", "Wren")]
    before = sorted((tmp_path / "data").rglob("*"))
    with pytest.raises(RvcError, match="Voices of the engine toy cannot be blended"):
        blend_voices(library, ME, ids, [0.5, 0.5], "X", free)
    assert sorted((tmp_path / "data").rglob("*")) == before
    run = sandbox.run_sandboxed

    def deleted_meanwhile(*order: Any) -> bytes:  # noqa: ANN401 -- passed on
        library.delete(ME, ids[1], purge=True)
        return run(*order)

    monkeypatch.setattr(blending, "run_sandboxed", deleted_meanwhile)
    with pytest.raises(RvcError, match="There is no voice"):
        blend_voices(library, ME, ids, [0.5, 0.5], "X", free)


def test_pitch_and_tone_of_a_blend_lie_between_those_of_its_parents(tmp_path: Path) -> None:
    low = {"median_hz": 100.0, "low_hz": 80.0, "high_hz": 160.0}
    high = {name: 4 * hz for name, hz in low.items()}
    one = parent(tmp_path, "one", 0.5, f0=low, tone_db=[0.0] * 20, language="nl")
    two = parent(tmp_path, "two", 0.5, f0=high, tone_db=[4.0] * 20, language="nl")
    card = joined_card([one, two])
    assert card["f0"] == pytest.approx({name: 2 * hz for name, hz in low.items()})  # an octave from each
    assert (card["tone_db"], card["language"]) == ([2.0] * 20, "nl")
    unknown = parent(tmp_path, "unknown", 0.5, f0={}, language="de")
    assert not {"f0", "tone_db", "language"} & joined_card([one, unknown]).keys()


def test_permission_is_given_by_all_or_not_at_all(tmp_path: Path) -> None:
    one = parent(tmp_path, "one", 0.5, consent=SAID, licence="CC0")
    two = parent(tmp_path, "two", 0.25, consent={"statement": "She said yes"}, licence="MIT")
    nobody = parent(tmp_path, "nobody", 0.25)
    card = joined_card([one, two])
    assert card["consent"]["statement"] == "one: This is my voice; two: She said yes"
    assert card["licence"] == "CC0; MIT"
    card = joined_card([one, two, nobody])
    assert not {"consent", "licence"} & card.keys()
    assert [one["consent"] for one in parents(card)] == [SAID, {"statement": "She said yes"}, None]


def test_a_card_names_the_parents_of_parents_up_to_a_number(tmp_path: Path) -> None:
    number = itertools.count()

    def mixed(shares: list[float]) -> Parent:
        made = [parent(tmp_path, f"v{next(number)}", share) for share in shares]
        return parent(tmp_path, f"v{next(number)}", 0.5, **joined_card(made))

    card = joined_card([mixed([0.5, 0.5]), mixed([0.9, 0.1])])
    assert [one["share"] for one in card["parents"]] == [0.25, 0.25, 0.45, 0.05]
    many = [mixed([1 / MOST_PARENTS] * MOST_PARENTS), mixed([0.5, 0.5])]
    with pytest.raises(RvcError, match=f"blends of {MOST_PARENTS + 2} voices in all"):
        joined_card(many)


def test_parents_that_a_stranger_made_up_are_left_out() -> None:
    good = {"name": "A", "share": 0.5, "fingerprint": "0" * 64, "consent": None, "licence": None}
    assert parents({"parents": [good]}) == [good]
    assert parents({"parents": [good | {"name": "A\n\tB", "extra": [1]}]}) == [good | {"name": "A B"}]
    made_up: tuple[Any, ...] = (
        None, 3, "x", {}, [3], [good] * (MOST_PARENTS + 1), [good | {"share": "much"}], [good | {"share": 0}],
        [good | {"share": math.inf}], [good | {"share": True}], [good | {"name": None}],
        [good | {"fingerprint": "<b>"}], [{}],
    )  # fmt: skip
    assert all(parents({"parents": wrong}) == [] for wrong in made_up)
