"""A second judge of naturalness beside `score.py`: DistillMOS, distilled from a judge of speech by XLS-R.

    JUDGES/bin/python -m tests.bench.naturalness --converted DIR --source DIR --target DIR --json OUT

Prints and writes the medians over the files of each folder, 1..5, as `score.py` does with its own judge:
distillmos, distillmos_src, distillmos_target.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import distillmos
import numpy as np
import torch

from tests.bench.score import TARGET_FILES, files, load

logger = logging.getLogger(__name__)
COLUMNS = {"converted": "distillmos", "source": "distillmos_src", "target": "distillmos_target"}


@torch.inference_mode()
def main() -> None:
    """Judge the files of three folders."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in COLUMNS:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    judge = distillmos.ConvTransformerSQAModel().eval()
    found = {}
    for name, column in COLUMNS.items():
        heard = list(files(getattr(options, name)).values())[:TARGET_FILES]
        found[column] = float(np.median([float(judge(torch.from_numpy(load(path))[None])) for path in heard]))
        logger.info("%-18s %.3f", column, found[column])
    options.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
