"""The phones that the content encoder is taught: one inventory for English, German and Dutch.

ARPAbet (CMU dictionary) plus five sounds that English lacks. Each phone has one or more pronunciations in the
ARPAbet of pocketsphinx's English acoustic model, through which the aligner finds it; the label keeps the real
phone.
"""

from __future__ import annotations

import re
import subprocess

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
