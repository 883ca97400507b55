"""What Prometheus collects, and who may."""

from __future__ import annotations

import socket
from functools import partial

import pytest
from gradio_client import handle_file  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from pipelines.monitoring import Gpu, Machine
from tests.ui.launched import METRICS_TOKEN as TOKEN
from tests.ui.launched import VOICE_FILES, Launched, client_to, wait_for
from tests.ui.raw_http import Answer, ask
from ui.server.monitoring import SnapshotCollector

Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def values(answer: Answer) -> Values:
    """Every sample by its name and labels, as Prometheus' own parser reads the answer."""
    assert answer.status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(measured: Values, name: str, **labels: str) -> float:
    return measured.get((name, tuple(sorted(labels.items()))), 0.0)


def test_work_and_refusals_are_counted(page: Launched) -> None:
    before = values(ask(page.url, "/metrics"))
    trained = {"type": "training", "status": "completed"}
    client = client_to(page)
    row = client.submit(
        [handle_file(VOICE_FILES[0])], "Wren", {"consent": True}, api_name="/train_voice"
    ).result()
    with pytest.raises(AppError):
        client.predict("0" * 32, api_name="/job_status")

    def ended() -> bool:
        after = values(ask(page.url, "/metrics"))
        name = "timbre_job_seconds_count"
        return of(after, name, **trained) > of(before, name, **trained)

    wait_for(ended, "the training in the metrics")
    answer = ask(page.url, "/metrics")
    after = values(answer)
    assert of(after, "timbre_jobs", **trained) == of(before, "timbre_jobs", **trained) + 1
    name = "timbre_job_seconds_sum"
    assert of(after, name, **trained) > of(before, name, **trained)
    refused = {"reason": "UnknownNameError"}
    assert of(after, "timbre_refusals_total", **refused) == of(before, "timbre_refusals_total", **refused) + 1
    assert of(after, "timbre_queue_length") == 0
    assert of(after, "timbre_dispatcher_up") == 1
    for private in (row["user_id"], row["id"], "Wren", str(page.data_dir), TOKEN):
        assert private not in answer.text


def test_this_machine_may_read_them(page: Launched) -> None:
    assert ask(page.url, "/metrics").header("content-type") is not None
    assert ask(page.url, "/metrics", host="localhost:1234").status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x_forwarded_for", "127.0.0.1"),
        ("x_forwarded_for", "8.8.8.8"),
        ("forwarded", "for=127.0.0.1"),
        ("x_real_ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
        ("x_client_ip", "127.0.0.1"),
        ("x_original_forwarded_for", "127.0.0.1"),
        ("fastly_client_ip", "127.0.0.1"),
        ("x_forwarded_scheme", "http"),
        ("referer", "https://voices.example.org/"),
        ("host", "voices.example.org"),
        ("host", "attacker.example"),
    ],
)
def test_what_came_through_a_proxy_needs_the_token(page: Launched, name: str, value: str) -> None:
    refused = ask(page.url, "/metrics", **{name: value})
    assert refused.status == 403
    assert "timbre_" not in refused.text
    assert ask(page.url, "/metrics", **{name: value}, authorization=f"Bearer {TOKEN}").status == 200


def test_a_proxy_that_says_nothing_but_speaks_http_1_0_needs_the_token(page: Launched) -> None:
    """As nginx does it by default: no header, its own name of the server, and the oldest protocol."""
    host = page.url.removeprefix("http://").rstrip("/")
    name, _, port = host.partition(":")
    answers = []
    for head in ("", f"Authorization: Bearer {TOKEN}\r\n"):
        with socket.create_connection((name, int(port))) as connection:
            connection.sendall(f"GET /metrics HTTP/1.0\r\nHost: {host}\r\n{head}\r\n".encode())
            answers.append(b"".join(iter(partial(connection.recv, 65_536), b"")))
    assert b" 403 " in answers[0].splitlines()[0]
    assert b"timbre_" not in answers[0]
    assert b" 200 " in answers[1].splitlines()[0]


@pytest.mark.parametrize("sent", ["Bearer wrong", "Bearer ", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_a_wrong_token_opens_nothing(page: Launched, sent: str) -> None:
    assert ask(page.url, "/metrics", authorization=sent, x_forwarded_for="10.0.0.1").status == 403


def test_gpu_memory_is_measured_where_it_is_told(page: Launched) -> None:
    from types import SimpleNamespace
    from typing import Any

    services: Any = SimpleNamespace(jobs=page.jobs, settings=SimpleNamespace(data_dir=page.data_dir))
    gpus = [
        Gpu(index=0, name="Toy", memory_bytes=8, used_bytes=3, load=0.5),
        Gpu(index=1, name="Share", memory_bytes=None, used_bytes=None, load=None),
    ]
    families = {
        family.name: family.samples for family in SnapshotCollector(services, Machine(lambda: gpus)).collect()
    }
    (used,) = families["timbre_gpu_memory_used_bytes"]
    assert (used.labels, used.value) == ({"gpu": "0"}, 3)
    assert [sample.value for sample in families["timbre_gpu_load"]] == [0.5]
