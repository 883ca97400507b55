"""The quality table of docs/quality.md, from a folder of speech, by one command.

    python -m tests.bench.quality_table --speech FOLDER --judge JUDGE_ENV/bin/python --json table.json

Every line is a trial of `tests.bench.quality`: built-in voices and voices freshly trained on 1, 5 and 20
minutes, women to men and men to women, Dutch and German sentences into an English voice. The floor is the
unconverted source, the ceiling the target's own recordings. Lines that the file of `--json` already holds
are not measured again, so a run that was cut off goes on; prints the table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.bench.quality import Trial, measure

TRIALS = {
    "kathleen (built in) from 26 (man)": Trial(target="kathleen", minutes=0, source="26"),
    "nathalie, 5 min from 26 (man)": Trial(target="nathalie", minutes=5, source="26"),
    "flemishguy (built in) from 26 (man)": Trial(target="flemishguy", minutes=0, source="26"),
    "kathleen (built in) from nathalie (woman, Dutch)": Trial(
        target="kathleen", minutes=0, source="nathalie", words=False
    ),
    "kathleen (built in) from flemishguy (man, Flemish)": Trial(
        target="kathleen", minutes=0, source="flemishguy", words=False
    ),
    "kathleen (built in) from kerstin (woman, German)": Trial(
        target="kathleen", minutes=0, source="kerstin", words=False
    ),
    "flemishguy (built in) from kathleen (woman)": Trial(target="flemishguy", minutes=0, source="kathleen"),
    "nathalie, 30 s without training, from 26 (man)": Trial(
        target="nathalie", minutes=0.5, source="26", steps=0
    ),
    "nathalie, 1 min from 26 (man)": Trial(target="nathalie", minutes=1, source="26"),
    "nathalie, 20 min from 26 (man)": Trial(target="nathalie", minutes=20, source="26"),
}
COLUMNS = {  # headings, and the figures below them, as `score.py` names these
    "recovery": "{recovery:.3f}",
    "closer": "{closer:.2f}",
    "wer - wer_src": "{wer_gap:+.3f} ± {wer_gap_se:.3f}",
    "wer_src": "{wer_src:.3f}",
    "f0_corr_sure": "{f0_corr_sure:.3f}",
    "f0_lost": "{f0_lost:.3f}",
    "mos / source / target": "{mos:.2f} / {mos_src:.2f} / {mos_target:.2f}",
    "mos2 / source / target": "{mos2:.2f} / {mos2_src:.2f} / {mos2_target:.2f}",
    "secs": "{secs_target:.3f}",
    "floor": "{floor:.3f}",
    "ceiling": "{ceiling:.3f}",
    "training": "{training_min:.1f} min",
}


def line(name: str, found: dict[str, float]) -> str:
    """One line of the table; a built-in voice is not trained, and words are judged where they are English."""
    found = {key: figure for key, figure in found.items() if key != "training_min" or figure}
    cells = [
        text.format_map(found) if text[1 : text.index(":")] in found else "-" for text in COLUMNS.values()
    ]
    return "| " + " | ".join([name, *cells]) + " |"


def table(found: dict[str, dict[str, float]]) -> str:
    """The whole table in Markdown."""
    headings = ["voice and source", *COLUMNS]
    head = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*head, *(line(name, scores) for name, scores in found.items())]) + "\n"


def main(arguments: Iterable[str] | None = None) -> None:
    """Measure what is missing and print the table."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--judge", default=sys.executable, help="python of the judges' environment")
    parser.add_argument("--json", type=Path, default=Path("quality_table.json"))
    parser.add_argument("--only", nargs="*", help="measure only lines that contain one of these words")
    options = parser.parse_args(None if arguments is None else list(arguments))
    found: dict[str, dict[str, float]] = {}
    if options.json.exists():
        found = json.loads(options.json.read_text(encoding="utf-8"))
    for name, trial in TRIALS.items():
        wanted = not options.only or any(word in name for word in options.only)
        if wanted and name not in found:
            found[name] = measure(trial, options.speech, options.judge)
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(table({name: found[name] for name in TRIALS if name in found}))


if __name__ == "__main__":
    main()
