"""A child process that works: start it, talk to it in lines, end it for certain.

    to the child      lines on its stdin: grant, pause, continue; for the converter: run JOB_DIR, cancel
    from the child    JSON objects, one a line, on its stdout; its log on stderr, into a file
    ending it         close()      end of stdin: it saves and leaves by itself
                      terminate()  SIGTERM: it finishes the step, saves and leaves
                      kill()       SIGKILL to its process group, which takes its own children along

The child leads a session of its own, so that Ctrl-C in the server's terminal does not reach it and the
group can be killed as a whole. Where there are no such signals (Windows), terminate() closes stdin.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
"""Where `python -m pipelines.worker` finds the packages."""

MAX_LINE_BYTES = 1 << 20


class Child:
    """One running child process.

    Args:
        command: Program and arguments.
        log_path: File that its stderr is appended to.
        environment: Variables set on top of the server's own.
        on_event: Called with (child, event) from a reading thread for every event, and at last with
            (child, None) when its output has ended.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str],
        on_event: Callable[[Child, dict[str, Any] | None], None],
    ) -> None:
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._on_event = on_event
        self._reader = threading.Thread(target=self._read, name=f"child-{self.pid}", daemon=True)
        self._reader.start()

    def returncode(self) -> int | None:
        """Return the exit status, negative for a signal; None while the child runs."""
        return self._process.poll()

    def send(self, line: str) -> None:
        """Write one line to the child; a child that has left is no error, its exit tells the story."""
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            return
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except OSError:
            logger.info("child %d no longer reads: %r not delivered", self.pid, line)

    def close(self) -> None:
        """Close the child's stdin: nothing more will come, it saves and leaves."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            try:
                stdin.close()
            except OSError:
                logger.debug("child %d was gone before its stdin was closed", self.pid)

    def terminate(self) -> None:
        """Ask the child to finish its step, save and leave."""
        if os.name != "posix":
            self.close()
        elif self.returncode() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the child and everything that it started, now."""
        if os.name == "posix":
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            except PermissionError:
                # macOS answers so for a group of which only zombies are left.
                logger.debug("group %d has ended already", self.pid)
        else:
            self._process.kill()

    def reap(self) -> None:
        """Clean up behind a child that has left: what it started, its last lines, its pipes."""
        self.kill()
        self._process.wait()
        self._reader.join(timeout=2.0)
        self.close()

    def _read(self) -> None:
        stdout = self._process.stdout
        if stdout is None:
            return
        with stdout:
            while line := stdout.readline(MAX_LINE_BYTES):
                try:
                    event = json.loads(line)
                except ValueError:
                    logger.warning("child %d said something that is not JSON: %.200r", self.pid, line)
                    continue
                if isinstance(event, dict):
                    self._on_event(self, event)
        self._on_event(self, None)
