"""A program hears what a training has learned, keeps a state and trains on, through gradio_client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import soundfile as sf
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from tests.ui.launched import Launched, client_to, launched
from tests.ui.strangers import refusal


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("samples"), steps=20) as page:
        yield page


@pytest.fixture(scope="module")
def client(page: Launched) -> Client:
    return client_to(page)


@pytest.fixture(scope="module")
def job_id(client: Client) -> str:
    """A completed training of the example recordings."""
    files = [handle_file(path) for path in client.predict(api_name="/example_recordings")]
    assert len(files) == 4
    row = client.submit(files, "Wren", {"consent": True}, api_name="/train_voice").result()
    assert row["status"] == "completed", row
    return str(row["id"])


def test_the_states_of_a_training_are_heard_and_one_becomes_the_voice(
    page: Launched, client: Client, job_id: str
) -> None:
    rows = client.predict(job_id, api_name="/list_samples")
    assert [row["step"] for row in rows] == [3, 7, 11, 15, 19]
    for step in (0, rows[0]["step"]):
        heard, rate_hz = sf.read(client.predict(job_id, step, api_name="/download_sample"))
        assert (heard.size, rate_hz) == (24_000, 24_000)
    voice = client.predict(job_id, rows[1]["step"], api_name="/keep_checkpoint")
    assert (voice["id"], voice["training_job_id"]) == (job_id, job_id)
    assert [row["kept"] for row in client.predict(job_id, api_name="/list_samples")] == [
        False, True, False, False, False
    ]  # fmt: skip
    assert "no sample of step 5" in refusal(client, job_id, 5, api_name="/download_sample")
    assert "step 5 was not kept" in refusal(client, job_id, 5, api_name="/keep_checkpoint")
    stranger = client_to(page)
    for name, values in (("list_samples", ()), ("download_sample", (0,)), ("keep_checkpoint", (3,))):
        assert "no job" in refusal(stranger, job_id, *values, api_name=f"/{name}")
    assert "no job" in refusal(stranger, job_id, 10, api_name="/train_on")


def test_a_training_goes_on(client: Client, job_id: str) -> None:
    row = client.predict(job_id, 10, api_name="/train_on")
    assert row["status"] in ("pending", "training")
    row = client.submit(job_id, api_name="/follow_job").result()
    assert (row["status"], row["result"]["steps"]) == ("completed", 30)
    assert "from 1 on" in refusal(client, job_id, 0, api_name="/train_on")
    assert "job is completed" in refusal(client, job_id, api_name="/retry_job")
    forged = {"patience_from": 30}
    assert "noted by train_on" in refusal(
        client, row["input_job_id"], "Wren", forged, api_name="/start_training"
    )


def test_sentences_to_read_are_given_in_a_language(client: Client) -> None:
    assert len(client.predict("pt-BR", api_name="/reading_sentences")) == 20
    assert "Unknown language" in refusal(client, "xx", api_name="/reading_sentences")


def test_a_voice_is_had_without_training_and_the_same_gets_better(client: Client) -> None:
    files = [handle_file(path) for path in client.predict(api_name="/example_recordings")]
    asked = {"consent": True, "steps": 0}
    both = asked | {"total_steps": 0}
    assert "are the same; give one" in refusal(client, files, "Finch", both, api_name="/train_voice")
    row = client.submit(files, "Finch", asked, api_name="/train_voice").result()
    assert (row["status"], row["result"]["steps"]) == ("completed", 0)
    voice = row["model"]["id"]
    assert client.predict(voice, api_name="/get_model")["model_name"] == "Finch"
    assert client.predict("training", 30, {"steps": 0}, api_name="/estimate") < client.predict(
        "training", 30, {}, api_name="/estimate"
    )
    longer = client.predict(row["id"], api_name="/train_on")
    assert longer["settings"]["total_steps"] >= 450
    done = client.submit(row["id"], api_name="/follow_job").result()
    assert (done["status"], done["model_id"]) == ("completed", voice)
    assert done["result"]["steps"] == longer["settings"]["total_steps"]
