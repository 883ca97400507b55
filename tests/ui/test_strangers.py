"""Without a login: who has a link to the page sees and touches nothing of anybody else, by any way in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gradio_client import Client, handle_file  # type: ignore[import-untyped]

from tests.ui.launched import RECORDING, Launched, client_to
from tests.ui.raw_http import ask
from tests.ui.strangers import same_answer_everywhere, things_of


@pytest.fixture(scope="module")
def owner(page: Launched) -> Client:
    return client_to(page, download_files=False)


@pytest.fixture(scope="module")
def things(owner: Client) -> dict[str, str]:
    return things_of(owner)


def test_a_stranger_s_every_question_is_answered_as_if_there_were_nothing(
    page: Launched, owner: Client, things: dict[str, str]
) -> None:
    before = sorted(page.data_dir.glob("jobs/*")) + sorted(page.data_dir.glob("models/*"))
    stranger = client_to(page)
    same_answer_everywhere(stranger, things)
    for name in ("list_jobs", "list_tokens"):
        ids = [row["id"] for row in stranger.predict(api_name=f"/{name}")]
        assert not set(ids) & set(things.values())
    assert all(row["builtin"] for row in stranger.predict(api_name="/list_models"))
    assert not any(stranger.submit("", api_name="/follow_jobs"))
    owned = owner.predict(api_name="/account")["user_id"]
    listed = stranger.predict(owned, api_name="/list_jobs")
    assert things["job_id"] not in [row["id"] for row in listed], "whose jobs is for admins to choose"
    assert all(path.exists() for path in before)


def test_a_personal_token_is_the_browser_that_made_it(page: Launched, owner: Client) -> None:
    made = owner.predict("My program", api_name="/create_token")
    program = client_to(page, headers={"Authorization": f"Bearer {made['token']}"})
    assert program.predict(api_name="/account") == owner.predict(api_name="/account")
    owner.predict(made["id"], api_name="/revoke_token")
    stranger_s = client_to(page).predict(api_name="/account")
    assert stranger_s["user_id"] != owner.predict(api_name="/account")["user_id"]


def test_what_is_handed_out_lies_where_nobody_can_guess(owner: Client, things: dict[str, str]) -> None:
    source = owner.predict(handle_file(RECORDING), api_name="/upload_target_audio")["job_id"]
    row = owner.submit(handle_file(RECORDING), things["model_id"], api_name="/convert_voice").result()
    answers = [row["audio"], owner.predict(row["id"], api_name="/download_audio")]
    answers += [owner.predict(source, api_name="/download_input") for _ in range(2)]
    answers.append(owner.predict(things["model_id"], api_name="/export_model"))
    folders = [Path(answer["path"]).parent.name for answer in answers]
    assert len(set(folders)) == len(folders), "the same file is at another place each time"
    assert all(re.fullmatch(r"[0-9a-f]{32}", folder) for folder in folders)
    secrets = {row["id"], source, *things.values()}
    assert not any(secret in answer["path"] for secret in secrets for answer in answers)


def test_gradio_s_own_routes_serve_nothing_else(page: Launched, things: dict[str, str]) -> None:
    data, cache = page.data_dir, page.cache
    inside = [path for path in data.rglob("*") if path.is_file()]
    assert len(inside) > 10
    outside = [data, cache, cache / "..", cache / ".." / "data" / "registry.json", Path("/etc/passwd")]
    for path in [*inside, *outside]:
        for way in (f"/gradio_api/file={path}", f"/gradio_api/file/{str(path).lstrip('/')}"):
            assert ask(page.url, way.replace(" ", "%20")).status in (403, 404), path
    sneaky = f"/gradio_api/file={cache}/%2e%2e/data/registry.json"
    assert ask(page.url, sneaky).status in (403, 404)


def test_a_file_too_large_leaves_nothing_behind(page: Launched, owner: Client) -> None:
    before = sorted(page.cache.rglob("*"))
    limit = page.jobs._settings.max_sent_bytes
    head = '--b\r\nContent-Disposition: form-data; name="files"; filename="../../x.wav"\r\n\r\n'
    body = head + "x" * (limit + 1) + "\r\n--b--\r\n"
    answer = ask(
        page.url,
        "/gradio_api/upload",
        method="POST",
        body=body,
        content_type="multipart/form-data; boundary=b",
        x_timbre_token="a-secret-of-my-own",
    )
    assert answer.status == 413
    assert sorted(page.cache.rglob("*")) == before


def test_a_name_is_kept_for_people_and_never_becomes_a_path(page: Launched) -> None:
    before = set(page.data_dir.parent.iterdir())
    head = '--b\r\nContent-Disposition: form-data; name="files"; filename="../../../evil.wav"\r\n\r\n'
    answer = ask(
        page.url,
        "/gradio_api/upload",
        method="POST",
        body=head + "sound\r\n--b--\r\n",
        content_type="multipart/form-data; boundary=b",
        x_timbre_token="a-secret-of-my-own",
    )
    assert answer.status == 200
    assert set(page.data_dir.parent.iterdir()) == before
    (path,) = page.cache.rglob("evil.wav")
    assert path.read_bytes() == b"sound"
