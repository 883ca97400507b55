"""The judges of `tests.bench.blend`, in their environment: one line of the table for each voice and source.

    JUDGE_ENV/bin/python -m tests.bench.blend_scores WORK SPEECH

Likeness is the cosine of speaker embeddings to the centroid of each parent's real recordings, the median over
sentences; word errors are those above the unconverted sentences', with their standard error over sentences.
"""

from __future__ import annotations

import csv
import logging
import sys
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray

from tests.bench.score import Ears, files, load, unit, words

logger = logging.getLogger(__name__)


def word_errors(said: dict[str, str], heard: dict[str, str]) -> NDArray[np.float64]:
    """Wrong words of each sentence, (N,)."""
    counts = (jiwer.process_words(text, heard[stem]) for stem, text in said.items())
    return np.array([one.substitutions + one.deletions + one.insertions for one in counts], dtype=np.float64)


def gap(more: NDArray[np.float64], lengths: NDArray[np.float64]) -> tuple[float, float]:
    """Word errors more per word, and the standard error of that ratio over sentences."""
    ratio = more.sum() / lengths.sum()
    spread = np.std(more - ratio * lengths, ddof=1) * np.sqrt(len(more))
    return float(ratio), float(spread / lengths.sum())


def texts_of(speech: Path) -> dict[str, str]:
    """What is said in each recording of a folder of speech, by its stem."""
    with (speech / "metadata.csv").open(encoding="utf-8") as table:
        return {Path(row["file"]).stem: row["text"] for row in csv.DictReader(table, delimiter="|")}


def main(work: Path, speech: Path) -> None:
    """Print the table in Markdown."""
    texts = texts_of(speech)
    ears = Ears()
    parents = {
        folder.name: unit(np.mean([ears.embed(load(path)) for path in files(folder).values()], axis=0))
        for folder in sorted((work / "target").iterdir())
    }
    sources = files(work / "source")
    unconverted = {stem: ears.hear(load(path)) for stem, path in sources.items()}
    headings = ["voice", "source", *(f"likeness to {name}" for name in parents), "wer - wer_src"]
    logger.info("| %s |\n%s", " | ".join(headings), "|---" * len(headings) + "|")
    for folder in sorted((work / "converted").iterdir()):
        made = {stem: load(path) for stem, path in files(folder).items()}
        heard = {stem: ears.hear(wav) for stem, wav in made.items()}
        embedded = {stem: ears.embed(wav) for stem, wav in made.items()}
        for speaker in sorted({stem.split("-")[0] for stem in sources}):
            said = {stem: words(texts[stem]) for stem in sources if stem.split("-")[0] == speaker}
            more = word_errors(said, heard) - word_errors(said, unconverted)
            ratio, error = gap(more, np.array([len(text.split()) for text in said.values()]))
            near = [np.median([embedded[stem] @ centroid for stem in said]) for centroid in parents.values()]
            cells = [folder.name, speaker, *(f"{one:.3f}" for one in near), f"{ratio:+.3f} ± {error:.3f}"]
            logger.info("| %s |", " | ".join(cells))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
