"""The child that turns voices of RVC programs into ours and back: `python -m rvc.vits.exchange ORDER`.

    import_from: a .pth, index: its .index or null   ->  weights_to, index_to, and card_to: what a card says
    export_from: a model.safetensors, index or null  ->  voice_to: a .pth, beside it an "added" index under
                                                         the name that it has in every RVC program
The files of either side may be a stranger's; a foreign index is read in a child of this child.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from rvc.engine.index_file import read_rows
from rvc.engine.retrieval import RetrievalIndex
from rvc.errors import CheckpointError
from rvc.sandbox import Order, serve
from rvc.steps import result_of
from rvc.vits.voice_model import (
    CONTENT_ENCODER,
    card_of,
    load_voice_file,
    read_voice_model,
    save_voice_file,
    write_voice_model,
)

ROWS_PER_CELL = 39  # faiss calls fewer too few


def exchange(order: Order) -> None:
    """Do what the order says."""
    index = Path(order["index"]) if order["index"] else None
    if "import_from" in order:
        _import(order, index)
    else:
        _export(order, index)


def _import(order: Order, index: Path | None) -> None:
    path = Path(order["import_from"])
    model = read_voice_model(path)
    if model.content_encoder != CONTENT_ENCODER:
        raise CheckpointError(
            f"{path.name} was trained with the content encoder {model.content_encoder[:40]!r}, and only "
            f"{CONTENT_ENCODER} is supported; train the voice again with {CONTENT_ENCODER}."
        )
    card = card_of(model)
    save_voice_file(Path(order["weights_to"]), model)
    if index is not None:
        built = result_of(RetrievalIndex.build(read_rows(index, model.config.content_dim)))
        built.save(Path(order["index_to"]))
        card["retrieval"] = {"rows": built.rows, "probed_cells": built.probed_cells}
    Path(order["card_to"]).write_text(json.dumps(card), encoding="utf-8")


def _export(order: Order, index: Path | None) -> None:
    model, path = load_voice_file(Path(order["export_from"])), Path(order["voice_to"])
    write_voice_model(path, model)
    if index is not None:
        added = added_index(read_rows(index, model.config.content_dim))
        name = f"added_IVF{added.nlist}_Flat_nprobe_1_{path.stem}_{model.config.version}.index"
        faiss.write_index(added, str(path.with_name(name)))


def added_index(rows: NDArray[np.float32]) -> faiss.IndexIVFFlat:
    """Index rows as RVC programs do: an inverted file that looks into one cell; deterministic."""
    cells = max(1, min(int(16 * len(rows) ** 0.5), len(rows) // ROWS_PER_CELL))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(rows.shape[1]), rows.shape[1], cells)
    index.cp.niter, index.cp.seed, index.cp.min_points_per_centroid = 10, 1234, 1
    index.train(rows)
    index.add(rows)
    return index


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], exchange))
