"""A child process: what it says is heard, what it says wrongly harms nobody, and it is gone when reaped."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.jobs.processes import Child
from tests.pipelines.jobs.toy_jobs import exists, until

ECHO = """
import sys
print("no JSON", flush=True)
print("[1, 2]", flush=True)
print('{"event": "hello"}', flush=True)
for line in sys.stdin:
    print('{"event": "heard", "line": "%s"}' % line.strip(), flush=True)
print("bye", file=sys.stderr)
"""


class Spoken:
    """A child that speaks, and its events."""

    def __init__(self, folder: Path, program: str) -> None:
        self.events: list[dict[str, Any] | None] = []
        self.log = folder / "log"
        self.child = Child(
            [sys.executable, "-c", program],
            log_path=self.log,
            environment={"A_WORD": "of its own"},
            on_event=lambda _, event: self.events.append(event),
        )


def test_events_are_objects_on_lines_and_anything_else_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoken = Spoken(tmp_path, ECHO)
    spoken.child.send("one")
    spoken.child.close()
    until(lambda: spoken.child.returncode() is not None)
    spoken.child.reap()
    assert spoken.events == [{"event": "hello"}, {"event": "heard", "line": "one"}, None]
    assert "not JSON" in caplog.text
    assert spoken.log.read_text() == "bye\n"


def test_talking_to_a_child_that_is_gone_and_ending_it_again_are_no_errors(tmp_path: Path) -> None:
    spoken = Spoken(tmp_path, "import os; os._exit(7)")
    until(lambda: spoken.child.returncode() == 7)
    for _ in range(2):
        spoken.child.send("anybody?")
        spoken.child.terminate()
        spoken.child.kill()
        spoken.child.reap()
    spoken.child.send("anybody?")
    assert spoken.child.returncode() == 7


def test_what_a_child_has_started_goes_with_it(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys\n"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        'print(\'{"event": "started", "pid": %d}\' % one.pid, flush=True)\n'
        "one.wait()\n"
    )
    spoken = Spoken(tmp_path, program)
    until(lambda: spoken.events)
    first = spoken.events[0]
    assert first is not None
    assert exists(first["pid"])
    spoken.child.kill()
    spoken.child.reap()
    until(lambda: not exists(first["pid"]) or _is_zombie(first["pid"]))


def _is_zombie(pid: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-program"):
        Child(
            [str(tmp_path / "no-such-program")],
            log_path=tmp_path / "log",
            environment={},
            on_event=lambda *_: None,
        )
