"""Names that hold markup, in a browser: shown as they were typed, and nobody else's server is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gradio_client import handle_file  # type: ignore[import-untyped]

from tests.browsers import MARKS, chromium, context
from tests.hostile.bad_files import zipped
from tests.toy_worker import write_voice
from tests.ui.launched import RECORDING, Launched, client_to, launched
from tests.ui.strangers import refusal

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS
ELSEWHERE = "http://elsewhere.test"
NAMES = [
    f"A<img src={ELSEWHERE}/a.png>B &amp; <b>bold</b>",
    f"![m]({ELSEWHERE}/m.png) [l]({ELSEWHERE}/l) **b** `c` a_b_c",
    "<script>document.title = 'x'</script>\"'> ${1+1} {{1+1}} $x^{$",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("markup"), steps=3) as page:
        yield page


@pytest.fixture
def asked(context: BrowserContext, served: Launched) -> list[str]:
    """Every address that the browser asks for and that is not the page's own."""
    addresses: list[str] = []

    def note(url: str) -> None:
        if not url.startswith((served.url, "data:", "blob:")):
            addresses.append(url)

    context.on("request", lambda request: note(request.url))
    return addresses


def archive_of(folder: Path, name: str) -> Path:
    made = write_voice(folder / "voice", name)
    archive = folder / "voice.zip"
    archive.write_bytes(zipped({path.name: path.read_bytes() for path in made.iterdir()}))
    return archive


def toast(page: Page, said: str) -> None:
    """Wait for a toast that says just this, and close it."""
    text = page.get_by_test_id("toast-text").filter(has_text=said[:12])
    text.first.wait_for()
    found = [" ".join(one.inner_text().split()) for one in text.all()]
    assert said in found, found
    for close in page.get_by_test_id("toast-close").all():
        close.click()
    page.get_by_test_id("toast-body").first.wait_for(state="detached")


def nothing_of_it_is_markup(page: Page, asked: list[str]) -> None:
    assert asked == []
    assert page.locator(f"img[src*='{ELSEWHERE}'], a[href*='{ELSEWHERE}']").count() == 0
    assert page.title() == "Timbre"


@pytest.mark.parametrize("name", NAMES, ids=["html", "markdown", "script"])
def test_a_voice_s_name_is_shown_as_it_was_typed(
    name: str, context: BrowserContext, served: Launched, asked: list[str], tmp_path: Path
) -> None:
    page, other = context.new_page(), context.new_page()
    page.goto(served.url)
    page.get_by_role("tab", name="Voices").click()
    page.get_by_role("button", name="Import a voice").click()
    page.locator("#voice-import input[type=file]").first.set_input_files(archive_of(tmp_path, name))
    page.locator("#voice-import .file-preview").get_by_text("voice", exact=True).wait_for()  # it has arrived
    page.get_by_role("button", name="Import", exact=True).click()
    toast(page, f"{name} is one of your voices now.")
    assert page.locator("#voice-details h3").inner_text() == name

    page.locator("#voice-use").click()
    page.locator("#convert-source input[type=file]").first.set_input_files(RECORDING)
    page.locator("#convert-source").get_by_text("0:11").first.wait_for()
    page.locator("#convert").click()
    page.locator("#convert-status").get_by_text("Done").first.wait_for()
    assert name in page.locator("#convert-status").inner_text()
    page.get_by_role("tab", name="Jobs").click()
    page.locator("#jobs button", has_text=name).first.wait_for(timeout=15_000)

    other.goto(served.url)
    other.get_by_role("tab", name="Voices").click()
    other.locator("#voices label", has_text=name).click()
    other.locator("#voice-details h3", has_text=name).wait_for()

    page.get_by_role("tab", name="Voices").click()
    page.locator("#voice-delete").click()
    question = page.locator("#voice-question")
    question.get_by_text("For a day it can be brought back").wait_for()
    assert f"Delete {name}? For a day" in " ".join(question.inner_text().split())
    page.locator("#voice-sure").click()
    toast(page, f"{name} is deleted; Undo brings it back. It keeps its room for a day.")

    other.locator("#voice-rename").click()
    toast(other, f"The voice {name} was deleted; choose another.")
    for one in (page, other):
        nothing_of_it_is_markup(one, asked)


@pytest.mark.parametrize("name", NAMES, ids=["html", "markdown", "script"])
def test_a_token_s_name_is_shown_as_it_was_typed(
    name: str, context: BrowserContext, served: Launched, asked: list[str]
) -> None:
    page = context.new_page()
    page.goto(served.url)
    page.locator("#account-open").click()
    page.locator("#token-name input, #token-name textarea").first.fill(name)
    page.locator("#token-create").click()
    page.locator("#tokens label", has_text=name).click()
    page.locator("#token-revoke").click()
    toast(page, f"The token {name} is revoked.")
    nothing_of_it_is_markup(page, asked)


def test_a_program_reads_the_sentence_as_it_is(served: Launched, tmp_path: Path) -> None:
    client = client_to(served)
    row = client.predict([handle_file(archive_of(tmp_path, NAMES[0]))], None, api_name="/import_model")
    client.predict(row["id"], api_name="/delete_model")
    said = refusal(client, row["id"], "Other", api_name="/rename_model")
    assert NAMES[0] in said
