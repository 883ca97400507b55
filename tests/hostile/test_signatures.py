"""Nobody learns a visitor's cookie from what the server answers; old cookies and ids stay their owners'."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.store.records import new_job
from pipelines.store.registry import Registry
from pipelines.store.storage import JournaledStorage
from pipelines.users.signatures import Signatures
from tests.hostile.attacker import Attacker
from tests.ui.launched import RECORDING, Launched, client_to, launched
from tests.ui.raw_http import ask

SECRET = "the secret of a server with a past"
OWN_SECRET = "of-a-program-with-a-past"
IDENTITY = "0123456789abcdef" * 2


def once(text: str) -> str:
    """How visitors' cookies were signed, and clients' ids computed, by one key."""
    return hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()


OLD_COOKIE = f"{IDENTITY}.{once(IDENTITY)[:40]}"
OLD_CLIENT = f"client-{once(OWN_SECRET)[:32]}"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("signatures"), secret=SECRET) as page:
        yield page


def cookie_of(page: Launched, *held: str) -> tuple[str, str]:
    """The name of the cookie, and the one that the page gives to who brings another, or none."""
    name = (ask(page.url, "/").header("set-cookie") or "").partition("=")[0]
    lines = ask(page.url, "/", **({"cookie": f"{name}={held[0]}"} if held else {})).header("set-cookie") or ""
    return name, lines.partition(";")[0].partition("=")[2]


def windows(text: str, length: int = 8) -> set[str]:
    return {text[start : start + length] for start in range(len(text) - length + 1)}


def heard_by(page: Launched, token: str) -> str:
    """All that the server answers to somebody with this token, headers too."""
    attacker = Attacker(url=page.url, token=token)
    name = cookie_of(page)[0]
    texts = []
    for path in ("/", "/config", "/health", "/metrics", "/gradio_api/info"):
        for headers in ({"x_timbre_token": token}, {"cookie": f"{name}={token}"}):
            answer = ask(page.url, path, **headers)
            texts += [answer.text, *(value for _, value in answer.headers)]
    given = {"list_jobs": ["", "", ""], "list_models": [False]}
    for endpoint in ("account", "list_jobs", "list_models", "list_tokens", "info", "health"):
        texts.append(attacker.call(endpoint, given.get(endpoint, []))[1])
    sent = attacker.send("visitor.flac", RECORDING.read_bytes())
    if sent is not None:
        texts.append(attacker.call("upload_target_audio", [sent])[1])
        texts.append(attacker.call("list_jobs", ["", "", ""])[1])
    texts.append(attacker.call("create_token", ["x"])[1])
    return "\n".join(texts)


def derived_from(identity: str) -> list[str]:
    return [
        identity,
        identity.upper(),
        identity * 2,
        identity[:16],
        f"client-{identity}",
        f"visitor-{identity}",
    ]


def test_no_answer_tells_a_part_of_a_visitor_s_signature(page: Launched) -> None:
    new = cookie_of(page)[1]
    for cookie in (new, OLD_COOKIE):
        identity, signature = cookie.split(".")
        secret_parts = windows(signature) | windows(once(identity))
        for token in derived_from(identity):
            heard = heard_by(page, token)
            assert "client-" in heard
            told = [part for part in secret_parts if part in heard]
            assert not told, f"{token!r} is answered with {told}"


def test_a_cookie_from_before_is_the_same_visitor_and_is_signed_anew(page: Launched) -> None:
    assert cookie_of(page, OLD_COOKIE)[1].partition(".")[0] == IDENTITY
    renewed = cookie_of(page, OLD_COOKIE)[1]
    assert renewed != OLD_COOKIE
    for token in (OLD_COOKIE, renewed):
        who = client_to(page, headers={"x-timbre-token": token}).predict(api_name="/account")["user_id"]
        assert who == f"visitor-{IDENTITY}"
    forged = f"{IDENTITY}.{'0' * 40}"
    assert cookie_of(page, forged)[1].partition(".")[0] != IDENTITY


def old_folder(folder: Path) -> dict[str, str]:
    """A registry with a job and a token of a client by its old id, and a job of a visitor."""
    registry = Registry(folder)
    upload = new_job(OLD_CLIENT, "conversion", status="uploaded", seq=1)
    registry.insert("jobs", upload)
    other = new_job(f"visitor-{IDENTITY}", "conversion", status="uploaded", seq=2)
    registry.insert("jobs", other)
    secret, token_id = "5" * 64, "6" * 16
    digest = hashlib.sha256(secret.encode()).hexdigest()
    token = {"id": token_id, "user_id": OLD_CLIENT, "kind": "personal", "name": "x", "digest": digest}
    moment = {"stamp": "", "created_at": upload["created_at"], "last_used_at": None}
    registry.insert("tokens", token | moment)
    registry.close()
    return {"job": upload["id"], "of another": other["id"], "token": f"tmb_{token_id}_{secret}"}


def test_a_first_start_does_not_write_each_of_the_rows_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path)
    owners = [f"client-{once(str(number))[:32]}" for number in range(60)]
    with registry.as_one():
        rows = [
            registry.insert("jobs", new_job(owner, "conversion", status="uploaded", seq=seq))
            for seq, owner in enumerate(2 * owners)
        ]
    append, steps = JournaledStorage.append, []

    def counted(storage: JournaledStorage, line: bytes) -> None:
        steps.append(line)
        append(storage, line)

    monkeypatch.setattr(JournaledStorage, "append", counted)
    Signatures(SECRET).renew_ids(registry)
    assert len(steps) <= 10, f"for {len(rows)} rows"
    renewed = {row["id"]: row["user_id"] for row in registry.list("jobs")}
    registry.close()
    assert not set(renewed.values()) & set(owners)
    assert all(len(user_id) == len("client-") + 40 for user_id in renewed.values())
    assert len({(row["user_id"], renewed[row["id"]]) for row in rows}) == len(owners)


def test_what_a_client_had_by_its_old_id_stays_its_own_and_the_old_id_is_shown_to_nobody(
    tmp_path: Path,
) -> None:
    made = old_folder(tmp_path / "data")
    with launched(tmp_path, secret=SECRET) as page:
        by_secret = client_to(page, headers={"x-timbre-token": OWN_SECRET})
        by_token = client_to(page, headers={"Authorization": f"Bearer {made['token']}"})
        answers = []
        for client in (by_token, by_secret):
            rows = client.predict(api_name="/list_jobs")
            assert [row["id"] for row in rows] == [made["job"]]
            assert [row["name"] for row in client.predict(api_name="/list_tokens")] == ["x"]
            answers.append(json.dumps([rows, client.predict(api_name="/account")]))
        assert by_secret.predict(api_name="/account") == by_token.predict(api_name="/account")
        assert not any(part in answer for part in windows(OLD_CLIENT[7:]) for answer in answers)
        (other,) = page.jobs.registry.list("jobs", id=made["of another"])
        assert other["user_id"] == f"visitor-{IDENTITY}"
