"""Blends by way of a program, of the voices that ship: whose they are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from tests.hostile.bad_files import zipped
from tests.toy_worker import write_voice
from tests.ui.launched import Launched, client_to
from tests.ui.strangers import refusal

KATHLEEN, FLEMISH = "builtin-kathleen", "builtin-flemishguy"
HALVES = [0.5, 0.5]


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_to(page)


@pytest.mark.timeout(300)  # a child loads torch, maybe beside other work
def test_a_blend_is_a_voice_of_its_maker_alone(client: Client, page: Launched) -> None:
    row = client.predict([KATHLEEN, FLEMISH], [0.3, 0.7], "Both", api_name="/blend_voices")
    assert (row["origin"], row["model_name"]) == ("blended", "Both")
    assert [(one["name"], one["share"]) for one in row["parents"]] == [
        ("Kathleen", 0.3),
        ("Flemish guy", 0.7),
    ]
    assert row in client.predict(api_name="/list_models")
    assert row not in client_to(page).predict(api_name="/list_models")
    stranger = client_to(page)
    said = refusal(stranger, [row["id"], KATHLEEN], HALVES, "X", api_name="/blend_voices")
    assert "There is no voice" in said


def test_what_is_no_blend_is_refused_in_a_sentence(client: Client, tmp_path: Path) -> None:
    made = write_voice(tmp_path / "voice", "Owl")
    archive = tmp_path / "voice.zip"
    archive.write_bytes(zipped({path.name: path.read_bytes() for path in made.iterdir()}))
    owl = client.predict([handle_file(archive)], "", api_name="/import_model")["id"]
    before = client.predict(api_name="/list_models")
    for ids, shares, name, said in (
        ([owl, KATHLEEN], HALVES, "X", "Owl and Kathleen differ in their engine"),
        ([KATHLEEN] * 5, [0.2] * 5, "X", "made of 2 to 4 voices, not of 5"),
        ([KATHLEEN, KATHLEEN], HALVES, "X", "One voice is in the blend twice"),
        ([KATHLEEN, FLEMISH], [0.5, 0.6], "X", "The shares do not fit the voices"),
        ([KATHLEEN, FLEMISH], "half", "X", "The shares do not fit the voices"),
        ([KATHLEEN, FLEMISH], None, "X", "The shares do not fit the voices"),
        ([KATHLEEN, FLEMISH], HALVES, None, "The voice has no name"),
        ([KATHLEEN, {"id": FLEMISH}], HALVES, "X", "is not the id of a voice"),
        ([KATHLEEN, "../models"], HALVES, "X", "is not the id of a voice"),
        (KATHLEEN, HALVES, "X", "made of 2 to 4 voices, not of 0"),
        (None, None, None, "The voice has no name"),
    ):
        assert said in refusal(client, ids, shares, name, api_name="/blend_voices")
    assert client.predict(api_name="/list_models") == before
    client.predict(owl, api_name="/delete_model")
    said = refusal(client, [owl, KATHLEEN], HALVES, "X", api_name="/blend_voices")
    assert "The voice Owl was deleted; choose another." in said
