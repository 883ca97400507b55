"""Weights: downloaded from a server on this machine that cuts, lies, sends on and refuses; never trusted."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines import download as downloading
from pipelines.download import Patience
from pipelines.events import Progress, finish
from pipelines.settings import get_settings
from pipelines.weights import Weight, WeightStore, pretrained, read_manifest, weight_store
from rvc.errors import ConfigError, DownloadError, UnknownNameError

CONTENT = bytes(range(256)) * 4000
IMPATIENT = Patience(timeout_s=5.0, tries=2, pause_s=0.01)


class Publisher(ThreadingHTTPServer):
    """Serves CONTENT, and whatever else a test asks of it.

    Attributes:
        content: What it has.
        cut_after: Per request, after how many bytes it hangs up; beyond the list never.
        answers: Per request, a status to refuse with; 0 to serve.
        ranges: The Range header of each request.
        serves_parts, tells_length, sends_on_to, shows_page: As they read.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Reply)
        self.content = CONTENT
        self.cut_after: list[int] = []
        self.answers: list[int] = []
        self.ranges: list[str | None] = []
        self.serves_parts = True
        self.tells_length = True
        self.sends_on_to: str | None = None
        self.shows_page = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights.bin"


class Reply(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        status = self.server.answers.pop(0) if self.server.answers else 0
        if self.server.sends_on_to and self.path == "/weights.bin":
            self.send_response(302)
            self.send_header("Location", self.server.sends_on_to)
            self.end_headers()
            return
        if self.server.shows_page:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<html>Please log in to this network.</html>")
            return
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and self.server.serves_parts:
            start = int(asked[1])
        if start >= len(self.server.content):
            status = 416
        if status:
            self.send_error(status)
            return
        rest = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            whole = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.cut_after.pop(0) if self.server.cut_after else None])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def weight_of(url: str, **changes: Any) -> Weight:  # noqa: ANN401
    sum_hex = hashlib.sha256(CONTENT).hexdigest()
    weight = Weight(
        file="sub/weights.bin", url=url, bytes=len(CONTENT), sha256=sum_hex, licence="MIT", used_by="a test"
    )
    return replace(weight, **changes)


def store_of(folder: Path, weight: Weight, own_folder: Path | None = None, **options: Any) -> WeightStore:  # noqa: ANN401
    return WeightStore(folder, own_folder, manifest={"w": weight}, patience=IMPATIENT, **options)


def files(folder: Path) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {"sub/weights.bin.lock"}


def test_a_file_is_downloaded_once_and_then_only_looked_up(publisher: Publisher, tmp_path: Path) -> None:
    store = store_of(tmp_path, weight_of(publisher.url))
    assert store.find("w") is None
    events = list(store.fetch("w"))
    progress = [event for event in events if isinstance(event, Progress)]
    fractions = [event.fraction for event in progress]
    assert fractions == sorted(fractions)
    assert progress[-1].stage == "Downloading weights"
    assert progress[-1].data["total_bytes"] == len(CONTENT)
    path = finish(store.fetch("w"))
    assert path == tmp_path / "sub/weights.bin"
    assert path.read_bytes() == CONTENT
    assert publisher.ranges == [None]
    assert files(tmp_path) == {"sub/weights.bin", "verified.json"}


def test_a_cut_download_goes_on_where_it_ended(publisher: Publisher, tmp_path: Path) -> None:
    publisher.cut_after = [300_000, 200_000, 1]
    finish(store_of(tmp_path, weight_of(publisher.url)).fetch("w"))
    assert publisher.ranges == [None, "bytes=300000-", "bytes=500000-", "bytes=500001-"]
    assert (tmp_path / "sub/weights.bin").read_bytes() == CONTENT


def test_a_closed_download_goes_on_in_the_next_process(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "EVENT_S", 0.0)
    events = store_of(tmp_path, weight_of(publisher.url)).fetch("w")
    for event in events:
        if isinstance(event, Progress) and event.data["bytes"]:
            break
    events.close()
    had = (tmp_path / "sub/weights.bin.part").stat().st_size
    assert 0 < had < len(CONTENT)
    finish(store_of(tmp_path, weight_of(publisher.url)).fetch("w"))
    assert publisher.ranges == [None, f"bytes={had}-"]


def test_the_page_of_a_network_that_wants_a_login_does_not_cost_what_came(
    publisher: Publisher, tmp_path: Path
) -> None:
    store = store_of(tmp_path, weight_of(publisher.url))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/weights.bin.part").write_bytes(CONTENT[:500_000])
    publisher.shows_page = True
    refused(store, tmp_path, "a web page comes instead of the file, as where a network asks for a login")
    publisher.shows_page = False
    assert finish(store.fetch("w")).read_bytes() == CONTENT
    assert publisher.ranges[-1] == "bytes=500000-"


def test_a_server_that_serves_no_parts_serves_everything_again(publisher: Publisher, tmp_path: Path) -> None:
    publisher.cut_after, publisher.serves_parts = [300_000], False
    path = finish(store_of(tmp_path, weight_of(publisher.url)).fetch("w"))
    assert path.read_bytes() == CONTENT


def test_a_part_of_something_else_gets_one_fresh_start(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/weights.bin.part").write_bytes(b"x" * 1000)
    finish(store_of(tmp_path, weight_of(publisher.url)).fetch("w"))
    assert publisher.ranges == ["bytes=1000-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 1])
def test_a_part_that_is_as_long_or_longer_but_wrong_is_dropped(
    size: int, publisher: Publisher, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/weights.bin.part").write_bytes(b"x" * size)
    path = finish(store_of(tmp_path, weight_of(publisher.url)).fetch("w"))
    assert path.read_bytes() == CONTENT


def test_a_file_whose_size_was_not_published_is_told_by_its_sum(publisher: Publisher, tmp_path: Path) -> None:
    publisher.cut_after = [300_000]
    weight = weight_of(publisher.url, bytes=None)
    assert finish(store_of(tmp_path, weight).fetch("w")).read_bytes() == CONTENT
    publisher.content = CONTENT[:-1]
    with pytest.raises(DownloadError, match="not the published file"):
        finish(store_of(tmp_path / "other", weight).fetch("w"))


def refused(store: WeightStore, folder: Path, reason: str) -> None:
    """Fetching ends in one sentence with reason, address and place, and leaves no file to be used."""
    with pytest.raises(DownloadError) as refusal:
        finish(store.fetch("w"))
    assert re.fullmatch(
        rf"A test: sub/weights\.bin \(1 MB\) is needed and cannot be downloaded \({reason}\); "
        rf"fetch \S+ and save it as {re.escape(str(folder))}/sub/weights\.bin\.",
        str(refusal.value),
    ), str(refusal.value)
    assert store.find("w") is None


def test_a_file_with_another_content_is_refused_and_not_kept(publisher: Publisher, tmp_path: Path) -> None:
    publisher.content = CONTENT[:-1] + b"!"
    refused(
        store_of(tmp_path, weight_of(publisher.url)), tmp_path, "what is there now is not the published file"
    )
    assert files(tmp_path) == set()


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_file_of_another_size_is_refused_and_not_kept(
    tells_length: bool, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.content, publisher.tells_length = CONTENT + b"!", tells_length
    refused(store_of(tmp_path, weight_of(publisher.url)), tmp_path, r"the file there has .* 1024000( bytes)?")
    assert files(tmp_path) == set()


def test_a_busy_server_is_asked_again_and_a_refusal_is_believed(publisher: Publisher, tmp_path: Path) -> None:
    publisher.answers = [503]
    finish(store_of(tmp_path / "a", weight_of(publisher.url)).fetch("w"))
    publisher.answers = [503, 503, 503]
    refused(store_of(tmp_path / "b", weight_of(publisher.url)), tmp_path / "b", "the server answers 503")
    publisher.answers, publisher.ranges = [404], []
    refused(store_of(tmp_path / "c", weight_of(publisher.url)), tmp_path / "c", "the server answers 404")
    assert len(publisher.ranges) == 1


def test_without_network_the_sentence_says_what_to_put_where(tmp_path: Path) -> None:
    with Publisher() as server:
        closed = server.url
    refused(store_of(tmp_path, weight_of(closed)), tmp_path, "no connection: .*refused.*")
    refused(store_of(tmp_path, weight_of("https://192.0.2.1/w")), tmp_path, "no connection: A test tried .*")


def test_offline_asks_nobody(publisher: Publisher, tmp_path: Path) -> None:
    own = tmp_path / "own"
    store = store_of(tmp_path / "data", weight_of(publisher.url), own, offline=True)
    refused(store, own, "HF_HUB_OFFLINE is set")
    own.mkdir()
    (own / "weights.bin").write_bytes(CONTENT[:-1] + b"!")
    refused(store, own, f"HF_HUB_OFFLINE is set, and {own}/weights.bin is not the published file")
    assert publisher.ranges == []


@pytest.mark.parametrize("place", ["sub/weights.bin", "weights.bin"])
def test_a_person_s_own_folder_is_searched_first_and_stays_as_it_is(place: str, tmp_path: Path) -> None:
    own, data = tmp_path / "own", tmp_path / "data"
    for folder in (own / place, data / "sub/weights.bin"):
        folder.parent.mkdir(parents=True)
        folder.write_bytes(CONTENT)
    store = store_of(data, weight_of("https://example.org/w"), own, offline=True)
    assert finish(store.fetch("w")) == own / place
    assert files(own) == {place}


def test_files_of_a_person_s_own_making_count_only_where_that_was_asked_for(tmp_path: Path) -> None:
    own, data = tmp_path / "own", tmp_path / "data"
    for folder in (own, data / "sub"):
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(b"self-made")
    weight = weight_of("https://example.org/w")
    assert store_of(data, weight, own, offline=True).find("w") is None
    assert store_of(data, weight, own, offline=True, unverified=True).find("w") == own / "weights.bin"
    (own / "weights.bin").unlink()
    # What lies among the downloads must be what was published.
    assert store_of(data, weight, own, offline=True, unverified=True).find("w") is None


def test_a_file_that_was_changed_is_verified_again(publisher: Publisher, tmp_path: Path) -> None:
    store = store_of(tmp_path, weight_of(publisher.url))
    path = finish(store.fetch("w"))
    path.write_bytes(CONTENT[:-1] + b"!")
    assert store.find("w") is None
    assert finish(store.fetch("w")).read_bytes() == CONTENT
    (tmp_path / "verified.json").write_text("[]")
    assert store.find("w") == path


def test_another_file_that_serves_as_well_is_used_if_it_is_here(tmp_path: Path) -> None:
    wanted = replace(weight_of("https://example.org/w"), sha256="0" * 64, instead=("other",))
    manifest = {"w": wanted, "other": replace(weight_of("https://example.org/o"), file="other.bin")}
    store = WeightStore(tmp_path, None, offline=True, manifest=manifest)
    assert store.find("w") is None
    (tmp_path / "other.bin").write_bytes(CONTENT)
    assert store.find("w") == tmp_path / "other.bin"


def test_it_follows_to_another_place_but_not_to_a_file_or_another_protocol(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.sends_on_to = publisher.url + "?signed"
    finish(store_of(tmp_path / "a", weight_of(publisher.url)).fetch("w"))
    for address in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        publisher.sends_on_to = address
        refused(store_of(tmp_path / "b", weight_of(publisher.url)), tmp_path / "b", ".*")


def test_links_and_folders_in_the_way_are_not_written_through(publisher: Publisher, tmp_path: Path) -> None:
    folder, precious = tmp_path / "data", tmp_path / "precious"
    (folder / "sub").mkdir(parents=True)
    precious.write_bytes(b"mine")
    part = folder / "sub/weights.bin.part"
    part.symlink_to(precious)
    refused(store_of(folder, weight_of(publisher.url)), folder, r"\S+\.part is in the way")
    part.unlink()
    (folder / "sub/weights.bin").mkdir()
    refused(store_of(folder, weight_of(publisher.url)), folder, r"\S+weights\.bin is in the way")
    (folder / "sub/weights.bin").rmdir()
    (folder / "sub/weights.bin").symlink_to(precious)
    path = finish(store_of(folder, weight_of(publisher.url)).fetch("w"))
    assert not path.is_symlink()
    assert precious.read_bytes() == b"mine"


def test_too_little_space_is_said_before_anything_is_written(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvc.files.SPARE_BYTES", 10**18)
    refused(store_of(tmp_path, weight_of(publisher.url)), tmp_path, r"\S+ has less than \d+ MB free")
    assert files(tmp_path) == set()


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"file": name}
            for name in ("../x", "/etc/x", "a/../../x", "a//b", "a\\b", "c:x", ".x", "", "a\nb", "a/")
        ),
        *({"url": url} for url in ("http://example.org/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "x")),
        {"sha256": "0" * 63},
    ],
)
def test_an_entry_that_names_another_place_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"not usable; restore manifest\.json"):
        replace(weight_of("https://example.org/w"), **changes)


def test_names_are_only_ever_looked_up(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown weights '\.\./\.\./etc/passwd'"):
        weight_store().find("../../etc/passwd")


def test_the_shipped_manifest_is_whole() -> None:
    manifest = read_manifest()
    for version in ("v1", "v2"):
        for rate_hz in (32_000, 40_000, 48_000):
            for uses_f0 in (True, False):
                assert set(pretrained(version, rate_hz, uses_f0=uses_f0)) <= manifest.keys()
    assert {"contentvec", "rmvpe"} <= manifest.keys()
    assert len({weight.sha256 for weight in manifest.values()}) == len(manifest)
    assert len({weight.file for weight in manifest.values()}) == len(manifest)
    for weight in manifest.values():
        assert weight.url.startswith("https://")
        assert weight.licence
        assert weight.used_by
        assert set(weight.instead) <= manifest.keys()


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    for text in ("", "[]", "{}}", json.dumps({"a": {"file": "x"}}), json.dumps({"a": 1})):
        path.write_text(text)
        with pytest.raises(ConfigError, match="cannot be read"):
            read_manifest(path)


def test_the_settings_say_where_and_whether(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    get_settings.cache_clear()
    with pytest.raises(
        DownloadError, match=rf"HF_HUB_OFFLINE is set.* save it as {re.escape(str(tmp_path))}/own/rmvpe\.pt"
    ):
        finish(weight_store().fetch("rmvpe"))
    assert not data_dir.exists()
