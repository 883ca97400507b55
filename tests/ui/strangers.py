"""What somebody gets who asks every endpoint for another person's things."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from tests.ui.launched import EXAMPLES, RECORDING, VOICE_FILES

TEXT = EXAMPLES / "texts" / "visitor.txt"
MUST_BE_TRIED = {
    "/delete_job", "/restore_job", "/delete_model", "/restore_model", "/set_voice_pitch", "/export_model",
    "/convert_voice", "/revoke_token", "/list_slices", "/slice_audio", "/reject_slices", "/restore_slices",
    "/download_batch_file", "/pitch_contours", "/spectrograms",
    "/start_cover", "/cover_song", "/download_stem",
    "/start_speech", "/say_text", "/start_speech_batch",
    "/list_samples", "/download_sample", "/keep_checkpoint", "/train_on",
    "/blend_voices",
}  # fmt: skip


def refusal(client: Client, *values: object, api_name: str, **named: object) -> str:
    """The sentence with which a call is refused."""
    with pytest.raises(AppError) as caught:
        client.submit(*values, api_name=api_name, **named).result()
    return str(caught.value)


def things_of(client: Client) -> dict[str, str]:
    """Make one of everything: ids by the name of the parameter that takes them."""
    files = [handle_file(path) for path in VOICE_FILES[:2]]
    row = client.submit(files, "Wren", {"consent": True}, api_name="/train_voice").result()
    token = client.predict("x", api_name="/create_token")
    return {"job_id": row["id"], "model_id": row["model"]["id"], "token_id": token["id"]}


def same_answer_everywhere(stranger: Client, things: dict[str, str]) -> None:
    """Ask every endpoint that takes an id, with one of somebody else's and with one of nothing."""
    described = stranger.view_api(return_format="dict", print_info=False)["named_endpoints"]
    sample: dict[str, Any] = {
        "files": [handle_file(VOICE_FILES[0])],
        "file": handle_file(RECORDING),
        "model_name": "Mine",
        "format": "bundle",
        "settings": {},
        "slice_ids": ["0-0"],
        "slice_id": "0-0",
        "number": 1,
        "stem": "voice",
        "name": "A preset",
        "text": "Hello",
        "kind": "conversion",
        "seconds": 10,
        "step": 3,
        "shares": [0.5, 0.5],
        "speaker": "Ada",
        "locked": True,
    }
    ids = things | {"job_ids": things["job_id"], "model_ids": things["model_id"]}
    beside: dict[str, list[str]] = {"job_ids": [], "model_ids": ["builtin-kathleen"]}  # in lists of ids
    tried = set()
    for name, endpoint in described.items():
        parameters = [one["parameter_name"] for one in endpoint["parameters"]]
        asked = [one for one in parameters if one in ids]
        if not asked:
            continue
        tried.add(name)
        given = {one: sample[one] for one in parameters if one not in ids and one in sample}
        given |= {"file": handle_file(TEXT)} if name == "/start_speech_batch" else {}
        mine = stranger.predict(handle_file(RECORDING), api_name="/upload_target_audio")["job_id"]
        answers = []
        for asked_for in (ids[asked[-1]], uuid.uuid4().hex[: len(ids[asked[-1]])]):
            named = dict.fromkeys(asked[:-1], mine) | {asked[-1]: asked_for}
            given |= {one: [value, *beside[one]] if one in beside else value for one, value in named.items()}
            answers.append(refusal(stranger, api_name=name, **given).replace(asked_for, "ID"))
        assert answers[0] == answers[1], name
        assert "There is no" in answers[0], name
    assert tried >= MUST_BE_TRIED
