"""Live, measured: from mouth to ear, without gaps, and how near it comes to a conversion of the same words.

    python -m tests.bench.live                                   delay of both settings, 20 s each
    python -m tests.bench.live --minutes 10                      no gap in ten minutes
    python -m tests.bench.live --minutes 30                      no growth of memory, no creeping delay
    python -m tests.bench.live --speech FOLDER --judge JUDGE_ENV/bin/python      likeness and words

A launched app, a recording fed in real time over a real socket (`pipelines.live.loopback`). Device buffers
are counted with 20 ms each way; a gap after the host of a virtual machine took processor time is told apart.
FOLDER and JUDGE_ENV are those of `tests.bench.quality`: sentences of a stranger are spoken live one after the
other, cut apart again, and judged beside their conversions. Prints PASS or MISSED for each bar, and leaves
with 1 if one was missed; both cores should be idle otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]
from numpy.typing import NDArray

from pipelines.live.loopback import SLACK_S, Loopback, measure
from rvc.audio.resampling import resample
from rvc.files import ROOT
from tests.bench.quality import Trial, last, launch, lay_out

Wave = NDArray[np.float32]
RATE_HZ = 48_000
TOKEN = "a-secret-of-the-live-bench"
RECORDING = ROOT / "assets" / "examples" / "recordings" / "visitor.flac"
MOST_S = {"default": 0.300, "low": 0.220}
MOST_DRIFT_S, MOST_GROWTH_MB = 0.02, 20.0
MOST_AWAY = 0.05  # of recovery and of word errors, from those of the conversions
PAUSE_S = 0.6  # between sentences
WARM_S = 60.0  # until memory is compared
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_HZ = os.sysconf("SC_CLK_TCK")
LOOK_S = 0.05  # between two looks at what a host takes
SUFFERS_S, SUFFERED_S = 0.3, SLACK_S["default"]  # so long before a gap, and so much, that it can have made it


def bar(name: str, value: float, most: float, unit: str = "") -> bool:
    """Print a figure beside its bar; return whether it keeps to it."""
    kept = value <= most
    sys.stdout.write(f"{'PASS' if kept else 'MISSED':7s}{name:34s}{value:8.3f} {unit:3s} at most {most:g}\n")
    sys.stdout.flush()
    return kept


class Watch:
    """Looks at something in a thread, until its block ends."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        """Look again and again while it is not over."""
        raise NotImplementedError


class Stolen(Watch):
    """When a host took processor time from this machine, which no idle core prevents."""

    def __init__(self) -> None:
        super().__init__()
        self._taken: list[tuple[float, float]] = []  # when it was seen, seconds

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self._taken)

    def before(self, moment_s: float) -> float:
        """How much it took shortly before a moment, seconds."""
        near = (s for at_s, s in self._taken if 0.0 <= moment_s + LOOK_S - at_s <= SUFFERS_S + LOOK_S)
        return sum(near)

    def _look(self) -> None:
        ticks = self._ticks()
        while not self._over.wait(LOOK_S):
            if (now := self._ticks()) > ticks:
                self._taken.append((time.monotonic(), (now - ticks) / TICKS_HZ))
                ticks = now

    def _ticks(self) -> int:
        return int(Path("/proc/stat").read_text().split(maxsplit=9)[8])


def for_minutes(minutes: float) -> Wave:
    """The example recording, again and again."""
    wav, rate_hz = sf.read(RECORDING, dtype="float32")
    once = resample(wav, rate_hz, RATE_HZ)
    return np.resize(once, round(60 * minutes * RATE_HZ))


class Memory(Watch):
    """What the child that speaks takes of memory, looked at once a second."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        super().__init__()
        self._server = server
        self.megabytes: list[tuple[float, float]] = []

    @property
    def growth_mb(self) -> float:
        """From after a minute to the end."""
        begun_s = self.megabytes[0][0] if self.megabytes else 0.0
        warm = [size for at, size in self.megabytes if at - begun_s > WARM_S] or [0.0]
        return float(np.median(warm[-10:]) - np.median(warm[:10]))

    def _look(self) -> None:
        while not self._over.wait(1.0):
            for pid in self._children():
                try:
                    if b"pipelines.live.child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                        self.megabytes.append((time.monotonic(), pages * PAGE_BYTES / 1e6))
                except OSError:
                    continue  # it has just left

    def _children(self) -> list[str]:
        found = Path(f"/proc/{self._server.pid}/task").glob("*/children")
        return [pid for path in found for pid in path.read_text().split()]


def spoken(url: str, model_id: str, wav: Wave, delay: str) -> Loopback:
    return measure(url, model_id, wav, RATE_HZ, delay=delay, headers={"x-timbre-token": TOKEN})


def of_delay(url: str, server: subprocess.Popen[bytes], delay: str, minutes: float) -> bool:
    """Speak for some minutes, and compare what was found with the bars."""
    with Memory(server) as memory, Stolen() as stolen:
        found = spoken(url, "builtin-kathleen", for_minutes(minutes), delay)
    sys.stdout.write(
        f"{delay}: {minutes:g} min, blocks of up to {found.block_ms} ms, busy {found.busy:.0%}, "
        f"{'fell behind, ' if found.behind else ''}{found.gap_s * 1000:.0f} ms of gaps, "
        f"{stolen.seconds:.2f} s of processor time taken by the host\n"
    )
    taken = [stolen.before(moment_s) for moment_s in found.gaps_at_s]
    own = [seconds for seconds in taken if seconds < SUFFERED_S]
    kept = [bar("mouth to ear", found.delay_s, MOST_S[delay], "s"), bar("gaps", len(own), 0)]
    sys.stdout.write(f"       of all {found.gaps}, before which the host took {taken} s\n")
    kept.append(bar("creeping delay", found.drift_s, MOST_DRIFT_S, "s"))
    if 60 * minutes > 2 * WARM_S:
        kept.append(bar("growth of memory", memory.growth_mb, MOST_GROWTH_MB, "MB"))
    return all(kept)


@contextmanager
def served(data: Path) -> Iterator[tuple[subprocess.Popen[bytes], Client, str]]:
    server, client = launch(data)
    try:
        yield server, client, str(client.src)
    finally:
        server.terminate()
        server.wait(30)


def of_quality(speech: Path, judge: str, target: str, source: str, sentences: int) -> bool:
    """Speak sentences live and convert them, and have both judged."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        lay_out(Trial(target=target, minutes=0, source=source, sentences=sentences), speech, work)
        paths, live = sorted((work / "source").iterdir()), work / "live"
        live.mkdir()
        with served(work / "data") as (_, client, url):
            for path in paths:
                done = last(client, handle_file(path), f"builtin-{target}", {}, api_name="/convert_voice")
                made = Path(client.predict(done["id"], api_name="/download_audio"))
                shutil.copy(made, work / "converted" / f"{path.stem}{made.suffix}")
            speak_all(url, f"builtin-{target}", paths, live)
        found = {name: judged(judge, work, name, speech) for name in ("converted", "live")}
    sys.stdout.write(f"{json.dumps(found, indent=1)}\n")
    away = found["converted"]["recovery"] - found["live"]["recovery"]
    kept = [bar("recovery below the conversion's", away, MOST_AWAY)]
    if "wer" in found["live"]:
        kept.append(bar("word errors above", found["live"]["wer"] - found["converted"]["wer"], MOST_AWAY))
    return all(kept)


def speak_all(url: str, model_id: str, paths: list[Path], folder: Path) -> None:
    """Speak sentences in one session, with pauses between them; cut what was heard apart again."""
    read = [sf.read(path, dtype="float32") for path in paths]
    waves = [resample(wav, rate_hz, RATE_HZ) for wav, rate_hz in read]
    pause = np.zeros(round(PAUSE_S * RATE_HZ), np.float32)
    found = spoken(url, model_id, np.concatenate([part for wav in waves for part in (wav, pause)]), "default")
    at = round((found.delay_s - found.devices_s) * RATE_HZ)
    for path, wav in zip(paths, waves, strict=True):
        sf.write(folder / f"{path.stem}.wav", found.heard[at : at + wav.size], RATE_HZ)
        at += wav.size + pause.size


def judged(judge: str, work: Path, converted: str, speech: Path) -> dict[str, float]:
    """What the yardstick says of a folder of results."""
    report = work / f"{converted}.json"
    command = [judge, str(ROOT / "tests" / "bench" / "score.py"), "--converted", str(work / converted)]
    command += ["--source", str(work / "source"), "--target", str(work / "target")]
    command += ["--text", str(speech / "metadata.csv"), "--json", str(report)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary: dict[str, float] = json.loads(report.read_text())["summary"]
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=1 / 3)
    parser.add_argument("--delay", choices=tuple(MOST_S), action="append")
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--judge")
    parser.add_argument("--target", default="kathleen")
    parser.add_argument("--source", default="26")
    parser.add_argument("--sentences", type=int, default=20)
    asked = parser.parse_args()
    if asked.speech and asked.judge:
        return int(not of_quality(asked.speech, asked.judge, asked.target, asked.source, asked.sentences))
    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "data") as (server, _, url):
        kept = [of_delay(url, server, delay, asked.minutes) for delay in asked.delay or MOST_S]
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
