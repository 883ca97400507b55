"""Frame labels for the content encoder: which phone is said every 10 ms, by forced alignment.

The aligner is pocketsphinx. English goes through two passes: words choose the variant, then the
phones are aligned as words of one phone each (its own phone pass fails on most long utterances). German and
Dutch are pronounced by espeak-ng and aligned through the nearest English phones. A recording without text is
first recognised (English).
Output: one `.npy` a recording, int8, shape (T,), T frames of 10 ms, entries numbers of `phones.PHONES`, -1
unknown.

The phones that the content encoder is taught: one inventory for English, German and Dutch.

ARPAbet (CMU dictionary) plus five sounds that English lacks. Each phone has one or more pronunciations in the
ARPAbet of pocketsphinx's English acoustic model, through which the aligner finds it; the label keeps the real
phone.
"""

from __future__ import annotations

import logging
import re
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rvc.audio.reader import load_mono
from rvc.pretrain.corpus import Utterance

if TYPE_CHECKING:
    from pocketsphinx import Decoder

# fmt: off
ARPABET = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY",
    "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y",
    "Z", "ZH",
)
# fmt: on
FOREIGN = {
    "UE": ("UW", "IY", "UH"),
    "OE": ("ER", "EH", "UH"),
    "KH": ("K", "HH"),
    "CX": ("SH", "HH"),
    "RR": ("R", "HH"),
}
PHONES = ("SIL", *ARPABET, *FOREIGN)
PHONE_ID = {phone: number for number, phone in enumerate(PHONES)}
# espeak-ng's IPA symbols, longest first when matched.
IPA = {
    "tʃ": "CH", "dʒ": "JH", "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY", "ɔø": "OY",
    "ɔʏ": "OY", "ɛɪ": "EY", "œy": "OE", "ʌʊ": "AW", "ɑu": "AW", "ts": "T S", "pf": "P F", "iː": "IY",
    "uː": "UW", "eː": "EY", "oː": "OW", "aː": "AA", "øː": "OE", "yː": "UE", "ɛː": "EH", "ɑː": "AA",
    "ɔː": "AO", "ɜː": "ER", "ɑ": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɔ": "AO", "ɒ": "AO",
    "ɛ": "EH", "ɜ": "AH", "ɚ": "ER", "ɝ": "ER", "ɪ": "IH", "i": "IY", "ᵻ": "IH", "ʊ": "UH", "u": "UW",
    "y": "UE", "ʏ": "UE", "ø": "OE", "œ": "OE", "o": "OW", "a": "AA", "e": "EY", "b": "B", "d": "D",
    "ð": "DH", "f": "F", "ɡ": "G", "g": "G", "h": "HH", "ɦ": "HH", "k": "K", "l": "L", "ɫ": "L", "m": "M",
    "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "RR", "ʁ": "RR", "ʀ": "RR", "s": "S", "ʃ": "SH", "t": "T",
    "ɾ": "T", "θ": "TH", "v": "V", "ʋ": "W", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH", "x": "KH", "χ": "KH",
    "ɣ": "KH", "ç": "CX", "ɲ": "N",
}  # fmt: skip
_SYMBOLS = re.compile("|".join(sorted(map(re.escape, IPA), key=len, reverse=True)))


def words(text: str) -> list[str]:
    """Split a transcript into lower-case words of the CMU dictionary's alphabet."""
    return re.sub(r"[^a-z' ]+", " ", text.lower()).split()


def espeak_phones(text: str, language: str) -> list[str]:
    """Pronounce a text with espeak-ng; symbols outside the inventory (stress, glottal stops) are left out."""
    ipa = subprocess.run(
        ["espeak-ng", "-q", "--ipa", "-v", language, text],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [phone for match in _SYMBOLS.finditer(ipa) for phone in IPA[match.group()].split()]


def dictionary() -> str:
    """Pronouncing dictionary in pocketsphinx's format in which every phone is a word ("p" + phone)."""
    lines = [f"p{phone.lower()} {phone}" for phone in ARPABET]
    for phone, likes in FOREIGN.items():
        lines += [
            f"p{phone.lower()}{f'({n})' if n > 1 else ''} {like}" for n, like in enumerate(likes, start=1)
        ]
    return "\n".join(lines) + "\n"


logger = logging.getLogger(__name__)
RATE_HZ = 16_000
HOP_SAMPLES = 160
MAX_SECONDS = 40.0


class Aligner:
    """Pocketsphinx in three roles: recogniser, word aligner, phone aligner."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder  # of the recipe's own requirements

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
