"""Every error that a user may see.

Each message is one sentence that names the thing and the way out; the page shows it as it stands.
A job that ends in an RvcError failed because of its input and is not retried. Anything that is not
an RvcError is a bug: let it reach the log with its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable


class RvcError(Exception):
    """Root of all errors whose message is meant for the user."""


class AudioError(RvcError):
    """The sound file cannot be read, is empty, silent, too long or of a wrong form."""


class TextError(RvcError):
    """The text is empty, too long, no text, or holds nothing that can be spoken."""


class CheckpointError(RvcError):
    """The file is not a voice model or checkpoint that this code understands."""


class ConfigError(RvcError):
    """A setting is out of range or contradicts another."""


class DownloadError(RvcError):
    """A published file is not here and cannot be had, or is not the one published."""


class UnknownNameError(RvcError):
    """There is nothing of that name."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Make the sentence that lists the names that exist."""
        return cls(f"Unknown {kind} {str(name)[:40]!r}. Choose one of: {', '.join(known)}.")


class NotAllowedError(RvcError):
    """The caller may not see or change this, or the state of the job forbids it."""


class LimitError(NotAllowedError):
    """The caller has sent, started or stored as much as the server allows for now."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s  # when the same wish is allowed; 0 where waiting does not help
