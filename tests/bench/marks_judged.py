"""The judges' part of `tests.bench.marks`.

    JUDGE_ENV/bin/python -m tests.bench.marks_judged WORK SPEECH [--perth]

WORK holds plain and marked, the same names in both, VOICE-SOURCE, and in words the like of sentences with a
text; SPEECH is the folder of the sources. Prints JSON: dnsmos_ and distillmos_ of both (means) and the worst
loss; word errors, plain and by how many more marked, with the standard error of that; and the likeness of a
marked result to its plain one. With `--perth`, the mark of resemble-perth takes the place of what lies in
`marked`, and how long that took and in how many it is found is told too.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import torch

from tests.bench.blend_scores import gap, texts_of, word_errors
from tests.bench.score import Ears, load, words

SOURCE = re.compile(r"[0-9]+-[0-9]+-[0-9]+$")  # of a sentence with a text, in the name of its result


def with_perth(work: Path) -> dict[str, float]:
    """Mark by resemble-perth; returns seconds of work for a second of sound, and the share that is found."""
    from perth import PerthImplicitWatermarker

    marker = PerthImplicitWatermarker()
    spent = heard = found = 0.0
    paths = [*(work / "plain").iterdir(), *(work / "words" / "plain").iterdir()]
    for path in paths:
        wav, rate_hz = sf.read(path, dtype="float32")
        began = time.process_time()
        marked = marker.apply_watermark(wav, sample_rate=rate_hz)
        spent, heard = spent + time.process_time() - began, heard + wav.size / rate_hz
        sf.write(path.parents[1] / "marked" / path.name, marked, rate_hz, subtype="PCM_16")
        found += float(marker.get_watermark(marked, sample_rate=rate_hz) > 0.5) / len(paths)
    return {"perth_rtf": spent / heard, "perth_found": found}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--perth", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, Any] = with_perth(options.work) if options.perth else {}
    ears = Ears()
    scores: dict[str, list[float]] = {}
    likeness = []
    for path in sorted((options.work / "plain").iterdir()):
        both = {"plain": load(path), "marked": load(options.work / "marked" / path.name)}
        for name, wav in both.items():
            scores.setdefault(f"dnsmos_{name}", []).append(ears.quality(wav))
            scores.setdefault(f"distillmos_{name}", []).append(ears.quality2(wav))
        likeness.append(float(ears.embed(both["plain"]) @ ears.embed(both["marked"])))
    told |= {name: float(np.mean(values)) for name, values in scores.items()}
    for judge in ("dnsmos", "distillmos"):
        losses = np.array(scores[f"{judge}_plain"]) - np.array(scores[f"{judge}_marked"])
        told[f"{judge}_worst"] = float(losses.max())
    told |= {"likeness": float(np.mean(likeness)), "likeness_least": min(likeness)}
    texts = texts_of(options.speech)
    heard: dict[str, dict[str, str]] = {"plain": {}, "marked": {}}
    for name, of in heard.items():
        for path in sorted((options.work / "words" / name).iterdir()):
            if (found := SOURCE.search(path.stem)) is not None:
                of[found[0]] = ears.hear(load(path))
    said = {stem: words(texts[stem]) for stem in heard["plain"]}
    lengths = np.array([len(text.split()) for text in said.values()], dtype=np.float64)
    wrong = {name: word_errors(said, of) for name, of in heard.items()}
    told |= {"words": int(lengths.sum()), "wer_plain": float(wrong["plain"].sum() / lengths.sum())}
    told["wer_gap"], told["wer_gap_se"] = gap(wrong["marked"] - wrong["plain"], lengths)
    print(json.dumps(told))  # noqa: T201 -- for who has started this


if __name__ == "__main__":
    main()
