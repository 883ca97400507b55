"""Small recordings that claim to be large: refused in a sentence, or taken, at little cost to the server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import av
import pytest

from pipelines.recordings.uploads import receive, receive_batch
from rvc.audio import trial
from rvc.sandbox import Order, run_sandboxed
from tests.hostile.heavy_recordings import EITHER, MARKUP, REFUSED, SETTINGS, TAKEN, free, tables
from tests.process_tree import said_by
from tests.sounds import tone, write

SERVER_MB, SERVER_S = 60.0, 15.0


def taken_in(folder: Path, content: bytes) -> dict[str, Any]:
    """What a process that takes this recording in says of it."""
    (folder / "sent").write_bytes(content)
    return said_by("tests.hostile.heavy_recordings", folder, folder / "sent")


@pytest.mark.skipif(sys.platform != "linux", reason="tells memory by /proc")
@pytest.mark.parametrize("what", [*REFUSED, *TAKEN, *EITHER])
def test_a_heavy_recording_costs_the_server_little(tmp_path: Path, what: str) -> None:
    said = taken_in(tmp_path, (REFUSED | TAKEN | EITHER)[what](tmp_path))
    assert said["grown_mb"] < SERVER_MB, said
    assert said["cpu_s"] < SERVER_S, said
    by_itself = said["answers"][0]
    if what in REFUSED:
        assert by_itself.startswith("song "), said
        assert by_itself.endswith("."), said
        assert not (tmp_path / "one").exists()
    if what in TAKEN:
        assert said["answers"] == ["", ""]


def test_a_recording_of_ten_hours_may_be_opened(tmp_path: Path) -> None:
    long = tmp_path / "long.m4a"
    samples = 10 * 3_600 * 48_000 // 1_024
    long.write_bytes(tables(tmp_path, samples) + free(samples))
    (refusal,) = trial.refusals([(long, "long.m4a")])
    assert "its end is missing" in str(refusal)  # its table was read, and the first sample: a byte, no sound


@pytest.mark.parametrize("kind", ["killer", "slow"])
def test_a_recording_that_ends_its_trial_refuses_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def bad_trial(module: str, order: Order, wall_s: float) -> bytes:
        return run_sandboxed("tests.hostile.dying_trial", order, wall_s)

    monkeypatch.setattr(trial, "run_sandboxed", bad_trial)
    monkeypatch.setattr(trial, "CPU_S", 2.0)
    monkeypatch.setattr(trial, "CPU_S_EACH", 0.1)
    names = ["a.m4a", kind, "b.m4a", kind, kind, "c.m4a"]
    good = write(tmp_path / "good.m4a", "m4a", tone(2.0, 16_000), 16_000)
    said = trial.refusals([(good, name) for name in names])
    for name, refusal in zip(names, said, strict=True):
        assert (refusal is None) == (name != kind), name
        assert refusal is None or str(refusal).startswith(f"{kind} cannot be opened within its limits")


@pytest.mark.parametrize("kind", ["mp3", "flac", "vorbis", "m4a", "mkv", "wav16"])
def test_tags_go_nowhere(tmp_path: Path, kind: str) -> None:
    """What is kept of a recording, and shown, is nothing that its tags say."""
    plain = write(tmp_path / f"plain.{kind}", kind, tone(2.0, 16_000), 16_000)
    tagged = tmp_path / "tagged"
    form = {"vorbis": "ogg", "m4a": "ipod", "mkv": "matroska", "wav16": "wav"}.get(kind, kind)
    with av.open(str(plain)) as source, av.open(str(tagged), "w", format=form) as target:
        target.metadata.update({"title": MARKUP, "artist": MARKUP, "comment": MARKUP})
        stream = source.streams.audio[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    assert MARKUP.encode() in tagged.read_bytes()
    (stored,) = receive([(tagged, "song")], tmp_path / "one", SETTINGS)
    (tmp_path / "batch").mkdir()
    (row,) = receive_batch([(tagged, "song")], tmp_path / "batch", SETTINGS)
    assert "onerror" not in json.dumps([stored.to_json(), row])
    assert b"onerror" not in (tmp_path / "one" / stored.audio).read_bytes()
