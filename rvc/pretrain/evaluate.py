"""What the content encoder is worth, on recordings that no training heard.

Phones: accuracy of the training's phone head against aligned labels. Speaker: how often a linear probe finds
the speaker in the mean and spread of the content (lower is better), beside the same probe on the log-mel.
Words: how far a sentence lies from the same by someone else, over how far from others (lower is better).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import edit_distance

from rvc.lite.encoder import ContentEncoder
from rvc.pretrain.dataset import Recording
from rvc.pretrain.train_encoder import Heads, hear

SHORTEST_PHONE_FRAMES, PROBE_STEPS, MOST_PAIRS = 3, 300, 60
FEWEST_RECORDINGS = 6  # of a speaker in the probe: a third of them is kept to try it on


def phones_said(labels: NDArray[np.int8]) -> list[int]:
    """The phones of a row of frame labels in order, without silence and what is too short to be one."""
    edges = [0, *np.flatnonzero(np.diff(labels)) + 1, len(labels)]
    kept = [int(labels[a]) for a, b in pairwise(edges) if labels[a] > 0 and b - a >= SHORTEST_PHONE_FRAMES]
    return [phone for n, phone in enumerate(kept) if n == 0 or phone != kept[n - 1]]


def phone_scores(encoder: ContentEncoder, heads: Heads, recordings: Sequence[Recording]) -> dict[str, float]:
    """Share of speech frames named rightly, and errors per phone of the collapsed sequence."""
    right = frames = errors = phones = 0
    for recording in recordings:
        if not (recording.labels >= 0).any():
            continue
        content, _ = hear(encoder, recording)
        guess = heads.phones(content).argmax(-1).numpy().astype(np.int8)
        speech = recording.labels > 0
        right += int((guess == recording.labels)[speech].sum())
        frames += int(speech.sum())
        said = phones_said(recording.labels)
        errors += int(edit_distance(said, phones_said(guess)))
        phones += len(said)
    return {"frame_accuracy": right / max(1, frames), "phone_error_rate": errors / max(1, phones)}


def speaker_probe(
    encoder: ContentEncoder, recordings: Sequence[Recording], seed: int = 0
) -> dict[str, float]:
    """How well a linear probe, fitted to two thirds of all recordings, finds the speakers of the rest."""
    by_speaker: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.utterance.speaker:
            by_speaker[recording.utterance.speaker].append(recording)
    groups = [group for _, group in sorted(by_speaker.items()) if len(group) >= FEWEST_RECORDINGS]
    if len(groups) < 2:
        return {}
    heard = [hear(encoder, recording) for group in groups for recording in group]
    speaker = torch.tensor([number for number, group in enumerate(groups) for _ in group])
    tried = torch.tensor([n % 3 == 2 for group in groups for n in range(len(group))])
    scores = {"chance": 1 / len(groups)}
    for name, part in (("content", 0), ("log_mel", 1)):
        rows = torch.stack([torch.cat([pair[part].mean(0), pair[part].std(0)]) for pair in heard])
        rows = (rows - rows[~tried].mean(0)) / (rows[~tried].std(0) + 1e-5)
        scores[name] = _probe(rows, speaker, tried, seed)
    return scores


def _probe(rows: Tensor, speaker: Tensor, tried: Tensor, seed: int) -> float:
    torch.manual_seed(seed)
    probe = nn.Linear(rows.shape[1], int(speaker.max()) + 1)
    optimizer = torch.optim.AdamW(probe.parameters(), 1e-2, weight_decay=1e-2)
    for _ in range(PROBE_STEPS):
        loss = F.cross_entropy(probe(rows[~tried]), speaker[~tried])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return float((probe(rows[tried]).argmax(1) == speaker[tried]).float().mean())


def path_distance(a: Tensor, b: Tensor) -> float:
    """Mean distance (1 - cosine) of two contents along the best path in time; (T, C), (U, C)."""
    cost = (1 - F.normalize(a, dim=1) @ F.normalize(b, dim=1).T).double().numpy()
    total, path = librosa.sequence.dtw(C=cost)
    return float(total[-1, -1] / len(path))


def same_sentence(
    encoder: ContentEncoder, recordings: Sequence[Recording], seed: int = 0
) -> dict[str, float]:
    """Distance of the same sentence by two speakers, and of different sentences by two speakers."""
    draw = np.random.default_rng(seed)
    spoken = [r for r in recordings if r.utterance.text and r.utterance.speaker]
    pairs: Mapping[str, list[tuple[int, int]]] = {"same": [], "different": []}
    every = [(n, m) for n in range(len(spoken)) for m in range(n)]
    for i, j in draw.permutation(every).tolist() if every else ():
        one, other = spoken[i].utterance, spoken[j].utterance
        if one.speaker != other.speaker:
            kind = "same" if one.text.lower() == other.text.lower() else "different"
            if len(pairs[kind]) < MOST_PAIRS:
                pairs[kind].append((i, j))
    if not pairs["same"] or not pairs["different"]:
        return {}
    contents = {n: hear(encoder, spoken[n])[0] for kind in pairs.values() for pair in kind for n in pair}
    same, different = (
        float(np.mean([path_distance(contents[i], contents[j]) for i, j in pairs[kind]])) for kind in pairs
    )
    return {"same": same, "different": different, "ratio": same / different}


def evaluate_encoder(
    encoder: ContentEncoder, heads: Heads, judged: Mapping[str, Sequence[Recording]]
) -> dict[str, dict[str, dict[str, float]]]:
    """All scores by collection; `judged` holds recordings that no training heard."""
    encoder.eval()
    heads.eval()
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for name, recordings in judged.items():
        found = {
            "phones": phone_scores(encoder, heads, recordings),
            "speaker_probe": speaker_probe(encoder, recordings),
            "same_sentence": same_sentence(encoder, recordings),
        }
        scores[name] = {
            kind: {key: round(value, 3) for key, value in values.items()}
            for kind, values in found.items()
            if values
        }
    return scores
