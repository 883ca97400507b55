"""Frame labels for the content encoder: which phone is said every 10 ms, by forced alignment.

Phones are ARPAbet and five sounds that English lacks; the aligner is pocketsphinx. English takes two passes:
words choose the variant, then phones are aligned as words of one phone each (its own phone pass fails on most
long utterances). German and Dutch are pronounced by espeak-ng and aligned through the nearest English phones.
A recording without text is first recognised (English). Output: int8, (T,), numbers of `PHONES`, -1 unknown.
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

from rvc.audio.level import HOP_16K, RATE_16K_HZ
from rvc.audio.reader import load_mono
from rvc.pretrain.dataset import Utterance

if TYPE_CHECKING:
    from pocketsphinx import Decoder

logger = logging.getLogger(__name__)
MAX_SECONDS = 40.0
ARPABET = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY",
    "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y",
    "Z", "ZH",
)  # fmt: skip
FOREIGN = {  # how the English acoustic model may hear each
    "UE": ("UW", "IY", "UH"), "OE": ("ER", "EH", "UH"), "KH": ("K", "HH"), "CX": ("SH", "HH"),
    "RR": ("R", "HH"),
}  # fmt: skip
PHONES = ("SIL", *ARPABET, *FOREIGN)
PHONE_ID = {phone: number for number, phone in enumerate(PHONES)}
IPA = {  # espeak-ng's symbols
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


def espeak_phones(text: str, language: str) -> list[str]:
    """Pronounce a text with espeak-ng; symbols outside the inventory (stress, glottal stops) are left out."""
    command = ["espeak-ng", "-q", "--ipa", "-v", language, text]
    ipa = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [phone for match in _SYMBOLS.finditer(ipa) for phone in IPA[match.group()].split()]


def dictionary() -> str:
    """Pronouncing dictionary in pocketsphinx's format in which every phone is a word ("p" + phone)."""
    lines = [f"p{phone.lower()} {phone}" for phone in ARPABET]
    for phone, (first, *others) in FOREIGN.items():
        lines.append(f"p{phone.lower()} {first}")
        lines += [f"p{phone.lower()}({number}) {like}" for number, like in enumerate(others, start=2)]
    return "\n".join(lines) + "\n"


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

    def labels(self, wav: NDArray[np.float32], text: str, language: str) -> NDArray[np.int8]:
        """Align 16 kHz audio, (N,), with its text ("": recognise it); -1 throughout if it failed."""
        labels = np.full(len(wav) // HOP_16K + 1, -1, np.int8)
        peak = max(1e-4, float(np.percentile(np.abs(wav), 99.9)))
        pcm = (np.clip(0.5 * wav / peak, -1, 1) * 32767).astype(np.int16).tobytes()
        try:
            if language == "en-us":
                heard = "" if text or not _decoded(self.recogniser, pcm) else self.recogniser.hyp().hypstr
                phones = self._english(pcm, text or heard)
            else:
                phones = espeak_phones(text, language)
            segments = self._aligned(self.phones, [f"p{phone.lower()}" for phone in phones], pcm)
        except RuntimeError:
            return labels
        for word, first, last in segments:
            labels[first : last + 1] = PHONE_ID.get(re.sub(r"\(.*", "", word)[1:].upper(), 0)
        return labels

    def _english(self, pcm: bytes, text: str) -> list[str]:
        said = re.sub(r"[^a-z' ]+", " ", text.lower()).split()
        for word in set(said):
            if self.words.lookup_word(word) is None:
                phones = [p for p in espeak_phones(word, "en-us") if p in ARPABET]
                if not phones:
                    return []
                self.words.add_word(word, " ".join(phones), True)
        segments = self._aligned(self.words, said, pcm)
        spoken = [word for word, _, _ in segments if not word.startswith(("<", "[", "+"))]
        return [phone for word in spoken for phone in self.words.lookup_word(word).split()]

    @staticmethod
    def _aligned(decoder: Decoder, said: list[str], pcm: bytes) -> list[tuple[str, int, int]]:
        """Find where each word begins and ends, in frames; nothing if it cannot be told."""
        if not said:
            return []
        decoder.set_align_text(" ".join(said))
        if not _decoded(decoder, pcm):
            return []
        return [(s.word, s.start_frame, s.end_frame) for s in decoder.seg()]


def _decoded(decoder: Decoder, pcm: bytes) -> bool:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    return decoder.hyp() is not None


_aligner = lru_cache(maxsize=1)(Aligner)  # one a process


def _label_one(path: Path, utterance: Utterance, target: Path) -> bool:
    wav, _ = load_mono(path, rate_hz=RATE_16K_HZ, max_seconds=MAX_SECONDS)
    labels = _aligner().labels(wav, utterance.text, utterance.language)
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
