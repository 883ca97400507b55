"""Frame labels for the content encoder: which phone is said every 10 ms, by forced alignment.

The aligner is pocketsphinx. English goes through two passes: words choose the variant, then the
phones are aligned as words of one phone each (its own phone pass fails on most long utterances). German and
Dutch are pronounced by espeak-ng and aligned through the nearest English phones. A recording without text is
first recognised (English).
Output: one `.npy` a recording, int8, shape (T,), T frames of 10 ms, entries numbers of `phones.PHONES`, -1
unknown.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Decoder

from rvc.audio import load_mono
from rvc.lite.pretrain.corpus import Utterance
from rvc.lite.pretrain.phones import ARPABET, PHONE_ID, dictionary, espeak_phones, words

logger = logging.getLogger(__name__)

RATE_HZ = 16_000
HOP_SAMPLES = 160
MAX_SECONDS = 40.0


class Aligner:
    """Pocketsphinx in three roles: recogniser, word aligner, phone aligner."""

    def __init__(self) -> None:
        self.words = Decoder(lm=None, loglevel="FATAL", beam=1e-100, pbeam=1e-100, wbeam=1e-80)
        with tempfile.NamedTemporaryFile("w", suffix=".dict") as phone_words:
            phone_words.write(dictionary())
            phone_words.flush()
            self.phones = Decoder(
                lm=None, dict=phone_words.name, loglevel="FATAL",
                beam=1e-100, pbeam=1e-100, wbeam=1e-80, silprob=1e-4, fillprob=1e-10,
            )  # fmt: skip
        self.recogniser = Decoder(loglevel="FATAL", maxhmmpf=4000, maxwpf=10, fwdflat=False, ds=1)

    def labels(self, wav: NDArray[np.float32], text: str, language: str) -> NDArray[np.int8] | None:
        """Align one recording.

        Args:
            wav: 16 kHz mono, shape (N,).
            text: Transcript; "" means that it is to be recognised.
            language: espeak-ng language of the text.

        Returns:
            Labels, shape (N // 160 + 1,), or None when the alignment failed.
        """
        peak = max(1e-4, float(np.percentile(np.abs(wav), 99.9)))
        pcm = (np.clip(0.5 * wav / peak, -1, 1) * 32767).astype(np.int16).tobytes()
        try:
            if language == "en-us":
                phones = self._english(pcm, text or self._hear(pcm))
            else:
                phones = espeak_phones(text, language)
            segments = (
                self._run(self.phones, " ".join(f"p{p.lower()}" for p in phones), pcm) if phones else None
            )
        except RuntimeError:
            return None
        if segments is None:
            return None
        labels = np.full(len(wav) // HOP_SAMPLES + 1, -1, np.int8)
        for word, first, last in segments:
            labels[first : last + 1] = PHONE_ID.get(re.sub(r"\(.*", "", word)[1:].upper(), 0)
        return labels

    def _hear(self, pcm: bytes) -> str:
        self.recogniser.start_utt()
        self.recogniser.process_raw(pcm, full_utt=True)
        self.recogniser.end_utt()
        heard = self.recogniser.hyp()
        return heard.hypstr if heard else ""

    def _english(self, pcm: bytes, text: str) -> list[str]:
        said = words(text)
        for word in set(said):
            if self.words.lookup_word(word) is None:
                phones = [p for p in espeak_phones(word, "en-us") if p in ARPABET]
                if not phones:
                    return []
                self.words.add_word(word, " ".join(phones), True)
        segments = self._run(self.words, " ".join(said), pcm) if said else None
        spoken = [word for word, _, _ in segments or [] if not word.startswith(("<", "[", "+"))]
        return [phone for word in spoken for phone in self.words.lookup_word(word).split()]

    @staticmethod
    def _run(decoder: Decoder, text: str, pcm: bytes) -> list[tuple[str, int, int]] | None:
        decoder.set_align_text(text)
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        if decoder.hyp() is None:
            return None
        return [(s.word, s.start_frame, s.end_frame) for s in decoder.seg()]


@lru_cache(maxsize=1)
def _aligner() -> Aligner:
    return Aligner()


def _label_one(path: Path, utterance: Utterance, target: Path) -> bool:
    wav, _ = load_mono(path, rate_hz=RATE_HZ, max_seconds=MAX_SECONDS)
    labels = _aligner().labels(wav, utterance.text, utterance.language)
    if labels is None:
        labels = np.full(len(wav) // HOP_SAMPLES + 1, -1, np.int8)
    np.save(target, labels)
    return bool((labels >= 0).any())


def label_corpus(corpus: Path, utterances: Iterable[Utterance], folder: Path, processes: int = 2) -> None:
    """Label every recording that has no label file yet; a failed one is labelled unknown throughout."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [u for u in utterances if not (folder / f"{u.key}.npy").exists()]
    with ProcessPoolExecutor(processes) as pool:
        jobs = [pool.submit(_label_one, corpus / u.file, u, folder / f"{u.key}.npy") for u in todo]
        failed = 0
        for number, job in enumerate(jobs, start=1):
            failed += not job.result()
            if number % 100 == 0 or number == len(jobs):
                logger.info("labels: %d of %d, %d could not be aligned", number, len(jobs), failed)
