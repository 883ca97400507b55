"""What every command works with: where it prints, where Timbre is, and a folder for what passes through."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.logs import start_logging
from pipelines.settings import Settings, get_settings
from rvc.errors import NotAllowedError
from ui.command_line.backend import Backend
from ui.command_line.screen import Screen


@dataclass(frozen=True, kw_only=True)
class Session:
    screen: Screen
    data_dir: Path | None = None  # that was asked for; None: the one of the settings
    server: str = ""
    token: str = ""

    @property
    def settings(self) -> Settings:
        settings = get_settings()
        return settings if self.data_dir is None else settings.model_copy(update={"data_dir": self.data_dir})

    @property
    def place(self) -> str:
        """What has to be added to another command, so that it works in the same place."""
        if self.server:
            return f" --server {self.server}"
        return f" --data-dir {shlex.quote(str(self.data_dir))}" if self.data_dir is not None else ""

    def require_owner(self) -> None:
        """Refuse to make something on a server for nobody: without a token it is somebody new each time."""
        if self.server and not self.token:
            raise NotAllowedError(
                "What is made on a server belongs to a token; give --token or TIMBRE_TOKEN, made under "
                "Account on its page."
            )

    @contextmanager
    def backend(self, folder: Path) -> Iterator[Backend]:
        """Give the data folder, or the server; `folder` takes what is downloaded."""
        backend: Backend
        if self.server:
            from ui.command_line.remote import RemoteBackend

            backend = RemoteBackend(self.server, self.token, folder)
        else:
            from ui.command_line.local import LocalBackend

            backend = LocalBackend(self.settings, self.screen)
        try:
            yield backend
        finally:
            backend.close()

    def start_logging(self) -> None:
        """Log warnings, or as much as LOG_LEVEL asks for: progress stands where the log goes."""
        settings = self.settings
        asked = "log_level" in settings.model_fields_set
        start_logging(settings.log_format, settings.log_level if asked else "WARNING")


@contextmanager
def passing_folder() -> Iterator[Path]:
    """Give a folder for what passes through: standard input, downloads."""
    with tempfile.TemporaryDirectory(prefix="timbre-") as folder:
        yield Path(folder)
