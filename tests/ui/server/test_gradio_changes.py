"""What is changed in Gradio took, or nothing is served."""

from __future__ import annotations

import gradio as gr
import pytest
from gradio import processing_utils, queueing, routes, state_holder

from rvc.errors import ConfigError
from ui.server.gradio_changes import adapt_gradio


def test_the_installed_gradio_fits_also_the_second_time() -> None:
    adapt_gradio()
    adapt_gradio()


@pytest.mark.parametrize("version", ["6.30.0", "6.32.0", "6.310.0", "7.0.0"])
def test_another_version_is_not_served(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gr, "__version__", version)
    with pytest.raises(ConfigError, match=f"version {version}.*so nothing is served; install the tested one"):
        adapt_gradio()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (processing_utils, "async_ssrf_protected_download"), (routes, "secure_url_stream_response"),
        (processing_utils, "ffmpeg_installed"), (processing_utils, "audio_from_file"),
        (state_holder, "SessionState"), (queueing, "Event"),
    ],
)  # fmt: skip
def test_a_name_that_is_gone_is_found_out(owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapt_gradio()
    monkeypatch.delattr(owner, name)
    with pytest.raises(ConfigError, match="do not fit the Gradio that is installed"):
        adapt_gradio()


def test_a_change_that_does_not_take_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object) -> str:
        return "content"  # by another way than the one that is changed

    monkeypatch.setattr(processing_utils, "ssrf_protected_download", fetch)
    with pytest.raises(ConfigError, match="still answers"):
        adapt_gradio()
