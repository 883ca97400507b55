"""Files of RVC programs as people share them, in zips or not: which voice and index are taken, what not."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from pipelines.store.records import Caller
from pipelines.store.registry import Registry
from pipelines.voices.library import Library
from rvc.errors import CheckpointError
from rvc.sandbox import run_sandboxed
from rvc.torch_file import published_state
from rvc.vits.exchange import added_index
from rvc.vits.sizes import legacy_list
from tests.hostile import bad_files
from tests.tiny_rvc import tiny_synthesizer
from tests.toy_worker import write_voice

ME = Caller("me")
VOICE, INDEX = b"\x80\x02 a voice", b"IwFl an index"


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    registry = Registry(tmp_path / "data")
    yield Library(tmp_path / "data", registry, builtin_dir=tmp_path / "none")
    registry.close()


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes | None]]:
    """What the child that reads voices is given, (voice, index); it takes everything for one."""
    given: list[tuple[bytes, bytes | None]] = []

    def taken(module: str, order: Mapping[str, Any], wall_s: float) -> None:
        index = order["index"] and Path(order["index"]).read_bytes()
        given.append((Path(order["import_from"]).read_bytes(), index))
        toy = write_voice(tmp_path / f"toy-{len(given)}")
        Path(order["card_to"]).write_bytes((toy / "card.json").read_bytes())
        Path(order["weights_to"]).write_bytes((toy / "model.safetensors").read_bytes())

    monkeypatch.setattr("pipelines.voices.exchange.run_sandboxed", taken)
    return given


def zipped(folder: Path, content: Mapping[str, bytes]) -> Path:
    path = folder / "shared.zip"
    path.write_bytes(bad_files.zipped(content))
    return path


NO_VOICE: dict[str, tuple[dict[str, bytes], str]] = {
    "only an index": ({"added_IVF8_Flat_nprobe_1_v_v2.index": INDEX}, "only an index, added_IVF8"),
    "an index in capitals": ({"a/B.INDEX": INDEX}, "only an index, B.INDEX"),
    "only a text": ({"readme.txt": b"hi"}, "give the .zip that Timbre exported, or a .pth"),
    "nothing": ({}, "give the .zip that Timbre exported, or a .pth"),
    "a zip in a zip": ({"inner.zip": bad_files.zipped({"voice.pth": VOICE})}, "inner.zip; unpack it"),
    "another archive": ({"x/inner.7Z": b"7z", "readme.txt": b""}, "inner.7Z; unpack it"),
    "a picture and an index": ({"me.png": b"\x89PNG", "a.index": INDEX}, "only an index, a.index"),
}


@pytest.mark.parametrize("what", NO_VOICE)
def test_a_zip_without_a_voice_is_told_so(library: Library, tmp_path: Path, what: str) -> None:
    content, rest = NO_VOICE[what]
    with pytest.raises(CheckpointError) as refusal:
        library.import_voice(ME, [zipped(tmp_path, content)])
    sentence = str(refusal.value)
    assert sentence.startswith("No voice (.pth) is in the zip")
    assert rest in sentence
    assert sentence.count(". ") == 0
    assert sentence.endswith(".")
    assert library.list(ME) == []


TAKEN: dict[str, tuple[dict[str, bytes], bytes | None]] = {
    "a voice alone": ({"Wren.pth": VOICE}, None),
    "in capitals, in folders": ({"models/WREN.PTH": VOICE, "logs/ADDED.INDEX": INDEX}, INDEX),
    "beside what it was trained with": (
        {
            "Wren/weights/Wren_e200_s4000.pth": VOICE,
            "Wren/logs/G_2333333.pth": b"\x80 g",
            "Wren/logs/D_2333333.pth": b"\x80 d",
            "Wren/logs/f0G40k.pth": b"\x80 p",
            "Wren/logs/trained_IVF8_Flat_nprobe_1_Wren_v2.index": b"It  ",
            "Wren/logs/added_IVF8_Flat_nprobe_1_Wren_v2.index": INDEX,
            "Wren/me.png": b"\x89PNG",
            "Wren/read me.txt": b"hi",
        },
        INDEX,
    ),
    "an index by another name": ({"Wren.pth": VOICE, "something.index": INDEX}, INDEX),
    "the index of its name": (
        {
            "ann_e10_s20.pth": VOICE,
            "added_Anna.index": b"Iwho",
            "added_IVF2_ann_v2.index": INDEX,
            "b.index": b"Iwho",
        },
        INDEX,
    ),
    "an index of the programs' other naming": (
        {"Ann_200e_4000s.pth": VOICE, "Ann.index": INDEX, "Joann.index": b"Iwho"},
        INDEX,
    ),
    "a voice that is called trained": (
        {"trained.pth": VOICE, "trained_IVF_trained.index": b"It  ", "added_IVF_trained.index": INDEX},
        INDEX,
    ),
    "names that look alike on the disk": ({"a?/Wren.pth": VOICE, "b?.index": INDEX, "b!.txt": b""}, INDEX),
    "only what a training goes on from": ({"G_100.pth": VOICE, "D_100.pth": b"\x80 d"}, None),
}


TORCH_ZIP = bad_files.zipped({"archive/data.pkl": b"\x80"})


SENT = {
    "Wren.pth": (TORCH_ZIP, 1),  # listed
    "Wren.zip": (bad_files.zipped({"Wren.pth": TORCH_ZIP, "added.index": INDEX}), 2),  # listed, and unpacked
}


@pytest.mark.parametrize("name", SENT)
def test_no_zip_is_read_twice(
    library: Library,
    tmp_path: Path,
    orders: list[tuple[bytes, bytes | None]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    asked, (content, children) = [], SENT[name]

    def counted(module: str, order: Mapping[str, Any], wall_s: float) -> bytes:
        asked.append(order["path"])
        return run_sandboxed(module, order, wall_s)

    monkeypatch.setattr("pipelines.zips.run_sandboxed", counted)
    (tmp_path / name).write_bytes(content)
    library.import_voice(ME, [tmp_path / name])
    assert orders[0][0] == TORCH_ZIP
    assert len(asked) == children


@pytest.mark.parametrize("what", TAKEN)
def test_of_a_zip_the_one_voice_is_taken_with_its_index(
    library: Library, tmp_path: Path, orders: list[tuple[bytes, bytes | None]], what: str
) -> None:
    content, index = TAKEN[what]
    library.import_voice(ME, [zipped(tmp_path, content)])
    assert orders == [(VOICE, index)]
    assert [path.is_dir() for path in (tmp_path / "data" / "models").iterdir()] == [True]


AMBIGUOUS: dict[str, tuple[dict[str, bytes], str]] = {
    "two voices": ({"a/Anna.pth": VOICE, "b/Bert.pth": VOICE}, "2 voices, Anna.pth and Bert.pth; give one"),
    "many voices": (
        {f"{name}.pth": VOICE for name in "abcdef"},
        "6 voices, a.pth, b.pth, c.pth and 3 more; give one",
    ),
    "two states of a training": ({"G_1.pth": VOICE, "G_2.pth": VOICE}, "2 voices, G_1.pth and G_2.pth"),
    "two indexes": (
        {"Wren.pth": VOICE, "a.index": INDEX, "b.index": INDEX},
        "Wren.pth comes with 2 indexes, a.index and b.index",
    ),
    "names without anything before their ends": ({".pth": VOICE, "x.pth": VOICE}, "2 voices"),
    "a voice that is none": ({"x.pth": b"none"}, "x.pth is not a zip of a voice, a .pth or an .index"),
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_what_leaves_a_doubt_is_named(
    library: Library, tmp_path: Path, orders: list[tuple[bytes, bytes | None]], what: str
) -> None:
    content, sentence = AMBIGUOUS[what]
    with pytest.raises(CheckpointError, match=sentence):
        library.import_voice(ME, [zipped(tmp_path, content)])
    assert orders == []
    assert list((tmp_path / "data" / "models").iterdir()) == []


def test_files_by_themselves_are_chosen_from_like_those_of_a_zip(
    library: Library, tmp_path: Path, orders: list[tuple[bytes, bytes | None]]
) -> None:
    sent = []
    for name, content in (("D_5.pth", b"\x80 d"), ("WREN.PTH", VOICE), ("x.INDEX", INDEX)):
        sent.append(tmp_path / name)
        sent[-1].write_bytes(content)
    library.import_voice(ME, sent)
    assert orders == [(VOICE, INDEX)]


def test_a_voice_as_it_is_shared_comes_in_and_goes_out_whole(library: Library, tmp_path: Path) -> None:
    """By the real child: trained on several GPUs, the posterior encoder left in, words for numbers."""
    synthesizer = tiny_synthesizer("v1")
    state = {f"module.{name}": tensor.half() for name, tensor in published_state(synthesizer).items()}
    said = {"config": tuple(legacy_list(synthesizer.config)), "sr": "40000", "f0": "1", "version": "V1"}
    torch.save({"weight": state, **said}, tmp_path / "Wren.pth")
    rows = np.random.default_rng(0).normal(0.0, 0.3, (200, 256)).astype(np.float32)
    faiss.write_index(added_index(rows), str(tmp_path / "added.index"))
    content = {name: (tmp_path / name).read_bytes() for name in ("Wren.pth", "added.index")}
    row = library.import_voice(ME, [zipped(tmp_path, content | {"G_1.pth": b"\x80 g", "me.txt": b""})])
    assert (row["model_name"], row["engine"], row["f0"], row["uses_f0"]) == ("Wren", "rvc", {}, True)
    assert {path.name for path in library.folder(ME, row["id"]).iterdir()} == {
        "card.json",
        "model.safetensors",
        "index.faiss",
    }
    card = json.loads((library.folder(ME, row["id"]) / "card.json").read_text(encoding="utf-8"))
    assert (card["version"], card["retrieval"]["rows"]) == ("v1", 200)
    with zipfile.ZipFile(library.export_rvc(ME, row["id"])) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {".pth", ".index"}
