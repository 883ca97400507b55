"""A running server, through its named endpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from pipelines.store.records import ENDED, Row, Rows
from rvc.errors import ConfigError, NotAllowedError, RvcError
from ui.command_line.backend import BatchLimits, Named
from ui.command_line.exits import FaultError

SHORTEST_POLL_S, LONGEST_POLL_S = 0.2, 2.0
LOST_S = 60.0  # without an answer, after which a job that is followed is given up here
PATIENCE = httpx.Timeout(600.0, connect=10.0)  # an upload is decoded before it is answered
LIST_OF_VOICES = "list_models"
# By type of job, the endpoint that takes its recordings, and the one that starts it.
ENDPOINTS = {
    "preprocessing": ("upload_training_audio", "prepare_voice"),
    "training": ("upload_training_audio", "start_training"),
    "conversion": ("upload_target_audio", "start_conversion"),
    "batch": ("upload_batch_audio", "start_batch"),
    "cover": ("upload_song", "start_cover"),
}


class UnreachableError(ConfigError):
    """Nobody answers at the address."""


class RemoteBackend:
    """One server and who asks it: a personal token, or a secret of one's own where there is no login.

    Downloads go into `folder`.
    """

    def __init__(self, url: str, token: str, folder: Path) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is no address of a server; give one such as http://127.0.0.1:7860.")
        self._url, self._token = url, token
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from gradio_client import Client  # type: ignore[import-untyped]

        with self._answers():
            self._client = Client(
                url,
                token=False,  # else it sends a token of Hugging Face that lies here
                verbose=False,
                headers={"x-timbre-token": token} if token else None,
                download_files=folder,
                httpx_kwargs={"timeout": PATIENCE},
                analytics_enabled=False,
            )
        names = {endpoint.api_name for endpoint in self._client.endpoints.values()}
        if f"/{LIST_OF_VOICES}" not in names:
            raise ConfigError(f"What answers at {url} is not Timbre; give the address of its page.")

    def voices(self) -> Rows:
        return self._call(LIST_OF_VOICES)

    def limits(self) -> BatchLimits:
        limits = self._call("info")["limits"]
        return BatchLimits(files=limits["files"], megabytes=limits["batch_size_mb"])

    def start(self, kind: str, files: Named, settings: Row, **voice: str) -> Row:
        from gradio_client import handle_file

        upload, start = ENDPOINTS[kind]
        sent = [handle_file(path) for path, _ in files]
        job_id = self._call(upload, sent[0] if kind == "conversion" else sent)["job_id"]
        try:
            return self._call(start, [job_id] if kind == "batch" else job_id, *voice.values(), settings)
        except BaseException:
            with suppress(RvcError):
                self.remove(job_id)
            raise

    def train_prepared(self, job_id: str, settings: Row, model_name: str) -> Row:
        return self._call("start_training", job_id, model_name, settings)

    def say(self, text: str, settings: Row, model_id: str) -> Row:
        return self._call("start_speech", text, model_id, settings)

    def follow(self, job_id: str) -> Iterator[Row]:
        pause_s, heard_s = SHORTEST_POLL_S, time.monotonic()
        while True:
            try:
                row = self._call("job_status", job_id)
            except UnreachableError as error:
                if time.monotonic() - heard_s > LOST_S:
                    raise FaultError(
                        f"{self._url} does not answer any more; the job {job_id} goes on there."
                    ) from error
                time.sleep(LONGEST_POLL_S)
                continue
            heard_s = time.monotonic()
            yield row
            if row["status"] in ENDED:
                return
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_POLL_S)

    def cancel(self, job_id: str) -> Row:
        return self._call("cancel_job", job_id)

    def resume(self, job_id: str) -> Row:
        return self._call("resume_job", job_id)

    def remove(self, job_id: str) -> None:
        self._call("delete_job", job_id, True)

    def result(self, job_id: str, number: int | None = None) -> Path:
        if number is None:
            return Path(self._call("download_audio", job_id))
        return Path(self._call("download_batch_file", job_id, number))

    def report(self, job_id: str) -> Row:
        return self._call("dataset_report", job_id)

    def import_voice(self, files: Named, name: str) -> Row:
        from gradio_client import handle_file

        return self._call("import_model", [handle_file(path) for path, _ in files], name)

    def export_voice(self, model_id: str, form: str) -> Path:
        return Path(self._call("export_model", model_id, form))

    def is_synthetic(self, path: Path, name: str) -> Row:
        from gradio_client import handle_file

        return self._call("is_synthetic", handle_file(path)) | {"name": name}

    def close(self) -> None:
        self._client.close()

    def _call(self, endpoint: str, *values: object) -> Any:  # noqa: ANN401  # what it answers
        with self._answers():
            return self._client.predict(*values, api_name=f"/{endpoint}")

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Make a sentence of whatever goes wrong between here and the server."""
        from gradio_client.exceptions import (  # type: ignore[import-untyped]
            AppError,
            AuthenticationError,
        )

        try:
            yield
        except AuthenticationError as error:
            raise NotAllowedError(self._login()) from error
        except AppError as error:
            if "verbose error reporting" in error.message:  # Gradio's word for what the server only logs
                raise FaultError(f"{self._url} failed at this; its log says why.") from error
            raise RvcError(error.message) from error
        except httpx.HTTPStatusError as error:
            if error.response.status_code in (401, 403):
                raise NotAllowedError(self._login()) from error
            raise RvcError(_refusal(self._url, error.response)) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise UnreachableError(
                f"No server answers at {self._url} ({error}); check the address, and that it runs."
            ) from error
        except ValueError as error:  # the client's own, of what answers but is none of Gradio
            raise ConfigError(f"{self._url} does not answer as Timbre does ({error}).") from error

    def _login(self) -> str:
        if self._token:
            return f"{self._url} does not accept this token; make a new one under Account on its page."
        return (
            f"{self._url} asks for a login; make a token under Account on its page and give it with "
            "--token, or in TIMBRE_TOKEN."
        )


def _refusal(url: str, response: httpx.Response) -> str:
    """Return what the gate said, or that it said nothing."""
    try:
        detail = response.json().get("detail") or response.json().get("error")
    except (ValueError, AttributeError):
        detail = None
    return str(detail) if detail else f"{url} refused this (status {response.status_code})."
