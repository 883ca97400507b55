"""What a person meets on the page, state by state: each journey brings a page into them and names each.

    for scene in journey(page, served):
        ...look at the page...

Everything is found by ids and roles, so that a journey can be made in every language. The work is the toy's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipelines.store.records import new_job
from tests.browsers import Screen
from tests.hostile.bad_files import zipped
from tests.toy_worker import write_voice
from tests.ui.launched import RECORDING, VOICE_FILES, Launched

if TYPE_CHECKING:
    from playwright.sync_api import Page

Journey = Callable[["Page", Launched], Iterator[str]]
# No colour is on its way to another one.
AT_ONCE = """() => { if (document.querySelector("#at-once")) return;
    const style = document.createElement("style");
    style.id = "at-once";
    style.textContent = "*, ::before, ::after { transition: none !important; animation: none !important; }";
    document.head.append(style); }"""
IN_THEME = """(theme) => !document.querySelector("gradio-app")
    || document.body.classList.contains("dark") === (theme === "dark")"""
SETTLES_MS = 200  # a page whose width or theme has changed


def convert(page: Page, served: Launched) -> Iterator[str]:
    """From an empty tab to two takes, their pictures, and a batch of which one file is no recording."""
    page.goto(served.url)
    page.locator("#convert-voice input:checked").wait_for()
    page.locator("#hear-now button").first.wait_for()
    yield "Convert"
    page.locator("#convert").click()
    page.locator("#convert-source-note .tm-missing").wait_for()
    yield "Convert, nothing given"
    send(page, "#convert-source", Path(__file__))
    page.locator("#convert-source-note .tm-missing").wait_for()
    page.locator("#convert").click()
    page.locator("#convert-status .tm-bad").wait_for()
    yield "Convert, refused"
    convert_the_example(page)
    page.locator("#convert-preset label").nth(2).click()
    convert_the_example(page)
    page.locator("#takes li").nth(1).wait_for()
    yield "Convert, two takes"
    page.locator("#takes button[data-event=compare]").last.click()
    page.locator("#player [data-track='0']", has_text="visitor").wait_for(state="detached")
    page.locator("#pictures button").first.click()
    page.locator("#contours svg").wait_for()
    page.locator("#picture img").wait_for()
    yield "Convert, compared, with pictures"
    page.locator("#convert-expert button").first.click()
    page.locator("#convert-presets button").first.click()
    yield "Convert, settings open"
    page.locator("#convert-kind label").nth(1).click()
    send(page, "#convert-files", RECORDING, Path(__file__))
    page.locator("#convert-files-note .tm-missing").wait_for()
    page.locator("#convert").click()
    page.locator("#convert-zip").wait_for()
    yield "Convert, a batch"


def clone(page: Page, served: Launched) -> Iterator[str]:
    """Four steps: recordings, what was found in them, a name, and a training that runs and has ended."""
    page.goto(served.url)
    open_tab(page, "clone")
    page.locator("#clone-files").wait_for()
    yield "Clone 1, recordings"
    page.locator("#clone-tabs button.label-wrap").first.click()
    page.locator("#reading-sentence .tm-read").wait_for()
    yield "Clone 1, guided reading"
    send(page, "#clone-files", *VOICE_FILES[:2], Path(__file__))
    page.locator("#clone-to-2").click()
    page.locator("#slice-review .tm-wave").first.wait_for()
    page.locator("#slice-review .tm-turn").first.click()
    page.locator("#slice-review .tm-out").first.wait_for()
    yield "Clone 2, review"
    page.locator("#clone-to-3").click()
    page.locator("#clone-train").click()
    page.locator("#clone-name-note .tm-missing").wait_for()
    yield "Clone 3, a name is missing"
    page.locator("#clone-name").get_by_role("textbox").fill("Robin")
    page.locator("#clone-consent").get_by_role("checkbox").check()
    page.locator("#clone-hear-now").click()
    page.locator("#training-card .tm-play").first.wait_for()
    yield "Clone 4, heard at once"
    page.locator("#clone-tabs [role=tab]").nth(2).click()
    yield "Clone 3, name and permission"
    with served.held():
        page.locator("#clone-name").get_by_role("textbox").fill("Wren")
        page.locator("#clone-train").click()
        page.locator("#samples .tm-play").first.wait_for()
        page.locator("#running .toggle-button[data-count]").wait_for()
        yield "Clone 4, it trains"
        page.locator("#running .toggle-button").click()
        page.locator("#running-jobs .tm-job").wait_for()
        yield "What runs"
        page.locator("#running .toggle-button").click()
        page.locator("#training-cancel").click()
        page.locator("#training-resume").wait_for()
        yield "Clone 4, stopped"
    page.locator("#training-resume").click()
    page.locator("#convert-next").wait_for()
    yield "Clone 4, hear"
    page.locator("#curves button").first.click()
    page.locator("#scores canvas, #scores svg").first.wait_for()
    yield "Clone 4, curves"


def voices(page: Page, served: Launched) -> Iterator[str]:
    """A voice that ships, one of one's own, its deletion and the trash."""
    page.goto(served.url)
    open_tab(page, "voices")
    page.locator("#voice-details h3").wait_for()
    yield "Voices"
    page.locator("#voice-import button").first.click()
    with TemporaryDirectory() as folder:
        voice = write_voice(Path(folder) / "voice", "Robin", f0={})
        archive = Path(folder) / "Robin.zip"
        archive.write_bytes(zipped({path.name: path.read_bytes() for path in voice.iterdir()}))
        send(page, "#voice-import", archive)
        page.locator("#voice-import .file-preview").wait_for()
        page.locator("#voice-import button.primary").click()
        page.locator("#voice-delete").wait_for()
    page.locator("#voice-pitch button").first.click()
    page.locator("#voice-delete").click()
    page.locator("#voice-sure").wait_for()
    yield "Voices, before deleting"
    page.locator("#voice-sure").click()
    page.locator("#deleted-voices label").wait_for()
    yield "Voices, trash"


def jobs(page: Page, served: Launched) -> Iterator[str]:
    """A conversion that has ended, and a training that failed."""
    page.goto(served.url)
    convert_the_example(page)
    open_tab(page, "jobs")
    page.locator("#jobs button").first.wait_for()
    yield "Jobs"
    user_id = served.jobs.registry.list("jobs")[-1]["user_id"]
    failed = new_job(user_id, "training", status="failed", seq=0, model_name="Robin")
    failed |= {"error_message": "The recordings hold 4 s of speech; a voice needs at least 10 seconds."}
    served.jobs.registry.insert("jobs", failed)
    page.reload()
    page.locator(f"#jobs button[data-job='{failed['id']}']").click()
    page.locator("#job-details .tm-bad").wait_for()
    yield "Jobs, a failed one"


def account(page: Page, served: Launched) -> Iterator[str]:
    """The dialog of the account, with a token that was just made."""
    page.goto(served.url)
    page.locator("#account-open").click()
    page.locator("#account-used p").wait_for()
    yield "Account"
    page.locator("#token-name").get_by_role("textbox").fill("My laptop")
    page.locator("#token-create").click()
    page.locator("#token-code .cm-content").wait_for()
    yield "Account, a token"


def admin(page: Page, served: Launched) -> Iterator[str]:
    page.goto(f"{served.url}admin")
    page.locator("#admin-health .tm-card").first.wait_for()
    page.locator("#admin-jobs").wait_for()
    yield "Admin"


def login(page: Page, served: Launched) -> Iterator[str]:
    """Of a page that has a login."""
    page.goto(served.url)
    page.locator("#password").wait_for()
    yield "Login"
    page.locator("#username").fill("ada")
    page.locator("#password").fill("a wrong password")
    page.locator("button").click()
    page.locator("[role=alert]").wait_for()
    yield "Login, refused"


JOURNEYS: tuple[Journey, ...] = (convert, clone, voices, jobs, account, admin)


def convert_the_example(page: Page) -> None:
    page.locator("#convert-voice input:checked").wait_for()
    takes = page.locator("#takes button[data-event=hear]").count()
    page.locator("#convert-example").click()
    page.locator("#convert-source").get_by_text("0:11").first.wait_for()
    page.locator("#convert").click()
    page.locator("#takes button[data-event=hear]").nth(takes).wait_for()
    page.locator("#player [data-part=play]:not([disabled])").wait_for()


def open_tab(page: Page, tab: str) -> None:
    page.locator("#tabs [role=tab][aria-selected=true]").first.wait_for()
    page.locator(f"#tabs [role=tab][data-tab-id={tab}]:visible").click()


def shown_on(page: Page, screen: Screen) -> None:
    """Show an open page on another screen; Gradio follows the theme of the browser."""
    page.set_viewport_size({"width": screen.width, "height": screen.height})
    page.emulate_media(color_scheme=screen.theme, reduced_motion="reduce")
    page.evaluate(AT_ONCE)
    page.wait_for_function(IN_THEME, arg=screen.theme)
    page.wait_for_timeout(SETTLES_MS)


def send(page: Page, element: str, *files: Path) -> None:
    page.locator(f"{element} input[type=file]").first.set_input_files(files)
