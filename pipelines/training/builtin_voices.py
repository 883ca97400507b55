"""Making the voices that ship: speakers of a corpus, trained by the same pipeline as anybody's voice.

    python -m pipelines.training.builtin_voices --corpus SPEECH kathleen=Kathleen flemishguy="Flemish man"

SPEECH is a folder with `metadata.csv` (see `rvc.pretrain.dataset`); its held-out sentences are not heard,
so that the voices can be judged by them. Each voice becomes a bundle in assets/builtin/voices/<speaker>. WORK
keeps what a cut-off training goes on from.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipelines.events import Events, Progress, finish
from pipelines.job_spec import PrepareSettings
from pipelines.recordings.prepare import prepare
from pipelines.recordings.uploads import receive
from pipelines.settings import Settings
from pipelines.training.train import TrainRequest, TrainResult, train
from pipelines.voices.library import BUILTIN_VOICES
from rvc.errors import AudioError
from rvc.pretrain.dataset import LICENCES, Utterance, read_corpus
from rvc.training.settings import TrainSettings

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

INDEX_ROWS = 12_000  # fewer than of a voice of one's own: what ships is downloaded by everybody
SOURCE = "Recordings published under CC0, to be used for synthetic voices."


@dataclass(frozen=True, kw_only=True)
class BuiltinVoice:
    speaker: str  # whose recordings of the corpus it learns from
    name: str
    language: str | None = None  # of the recordings, a tag of BCP 47
    minutes: float = 8.0  # at most this much of them is used
    steps: int | None = 4_000  # at most; it ends earlier when the held-out slices say so
    patience: int = 20
    threads: int | None = None


def recordings_of(corpus: Path, voice: BuiltinVoice) -> list[Utterance]:
    """The recordings that a voice learns from: in the table's order, none that is held out."""
    chosen: list[Utterance] = []
    for utterance in read_corpus(corpus):
        if sum(u.seconds for u in chosen) >= 60 * voice.minutes:
            break
        if utterance.speaker == voice.speaker and not utterance.held_out:
            chosen.append(utterance)
    if not chosen:
        raise AudioError(f"{corpus.name} has no recording of {voice.speaker!r}; name one of its speakers.")
    return chosen


def make_voice(corpus: Path, voice: BuiltinVoice, work: Path, voices: Path = BUILTIN_VOICES) -> TrainResult:
    """Prepare and train one voice and put its bundle among those that ship."""
    chosen = recordings_of(corpus, voice)
    folder = work / voice.speaker
    files = [(corpus / utterance.file, Path(utterance.file).name) for utterance in chosen]
    limits = Settings(data_dir=work, max_files=len(files))
    if not (folder / "inputs").exists():
        stored = receive(files, folder, limits)
        finish(_logged(prepare(stored, folder, PrepareSettings())))
    voices.mkdir(parents=True, exist_ok=True)
    request = TrainRequest(
        prepared_folder=folder,
        work_dir=folder / "training",
        bundle_dir=voices / voice.speaker,
        name=voice.name,
        settings=TrainSettings(total_steps=voice.steps, patience=voice.patience, threads=voice.threads),
        consent={"statement": SOURCE},
        licence=LICENCES.get(chosen[0].collection),
        language=voice.language,
        index_rows=INDEX_ROWS,
    )
    return finish(_logged(train(request)))


def _logged(events: Events[Result]) -> Events[Result]:
    """Pass a pipeline's events on, telling the log of every stage and score."""
    stage = ""
    for event in events:
        if isinstance(event, Progress) and (event.stage != stage or event.data.get("score")):
            stage, said = event.stage, event.data.get("score") or event.message
            logger.info("%3.0f %% %s: %s", 100 * event.fraction, stage, said)
        yield event


def main(arguments: Iterable[str] | None = None) -> None:
    """Make the voices named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.training.builtin_voices",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("voices", nargs="+", metavar="SPEAKER=NAME")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=BuiltinVoice.minutes)
    parser.add_argument("--steps", type=int, default=BuiltinVoice.steps)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--language", help="of the recordings of all these voices, such as nl-BE")
    parser.add_argument("--out", type=Path, default=BUILTIN_VOICES)
    options = parser.parse_args(None if arguments is None else list(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for pair in options.voices:
        speaker, _, name = pair.partition("=")
        length = {"minutes": options.minutes, "steps": options.steps, "threads": options.threads}
        voice = BuiltinVoice(speaker=speaker, name=name or speaker, language=options.language, **length)
        made = make_voice(options.corpus, voice, options.work, options.out)
        logger.info("%s: %d steps, best %d, score %s", made.name, made.steps, made.best_step, made.score)


if __name__ == "__main__":
    main()
