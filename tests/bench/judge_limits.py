"""What the judge of likeness hears besides the voice: the language and the length of a recording.

    JUDGES/bin/python -m tests.bench.judge_limits --speech FOLDER

The first part lets espeak-ng, whose voices speak every language with one and the same throat, say English,
Dutch and German sentences, and compares each language with the voice's own English. The second compares
natural recordings of one speaker with his others, whole and cut short. What is lost there, no conversion
can be expected to keep.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rvc.pretrain.dataset import Utterance, read_corpus
from tests.bench.score import RATE_HZ, Ears, load, unit

logger = logging.getLogger(__name__)

VOICES = ("f2", "f4", "m1", "m3", "m7")
LANGUAGES = {"en-us": "kathleen", "nl": "nathalie", "de": "kerstin"}
SENTENCES, OWN = 40, 30
LENGTHS_S = (12.0, 6.0, 3.5)


def likeness(ears: Ears, waves: Sequence[np.ndarray], voice: np.ndarray) -> float:
    """Median cosine of recordings with the centroid of a voice."""
    return float(np.median([ears.embed(wav) @ voice for wav in waves]))


def spoken(language: str, voice: str, texts: Sequence[str]) -> list[np.ndarray]:
    """Let espeak-ng say sentences."""
    waves = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        for text in texts:
            command = ["espeak-ng", "-v", f"{language}+{voice}", "-w", str(path), text]
            subprocess.run(command, check=True)
            waves.append(load(path))
    return waves


def languages(ears: Ears, corpus: Sequence[Utterance]) -> None:
    """Say how alike each language of a voice is to its English."""
    texts = {
        language: [u.text for u in corpus if u.speaker == speaker and u.text][:SENTENCES]
        for language, speaker in LANGUAGES.items()
    }
    for voice in VOICES:
        said = {language: spoken(language, voice, some) for language, some in texts.items()}
        centroid = unit(np.mean([ears.embed(wav) for wav in said["en-us"][:OWN]], axis=0))
        said["en-us"] = said["en-us"][OWN:]
        found = {language: likeness(ears, waves, centroid) for language, waves in said.items()}
        logger.info("espeak-ng %s: %s", voice, {name: round(value, 3) for name, value in found.items()})


def lengths(ears: Ears, speech: Path, corpus: Sequence[Utterance], speaker: str = "26") -> None:
    """Say how alike recordings of one length are to the speaker's others."""
    files = [u.file for u in corpus if u.speaker == speaker and u.seconds >= LENGTHS_S[0]]
    waves = [load(speech / file) for file in files[: 2 * OWN]]
    half = len(waves) // 2
    centroid = unit(np.mean([ears.embed(wav) for wav in waves[:half]], axis=0))
    for seconds in LENGTHS_S:
        cut = [wav[: int(seconds * RATE_HZ)] for wav in waves[half:]]
        logger.info("%s, %g s: %.3f", speaker, seconds, likeness(ears, cut, centroid))


def main() -> None:
    """Measure both."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--speech", type=Path, required=True)
    speech = parser.parse_args().speech
    ears, corpus = Ears(), read_corpus(speech)
    languages(ears, corpus)
    lengths(ears, speech, corpus)


if __name__ == "__main__":
    main()
