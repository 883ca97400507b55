"""The login in a browser: in, a token, another password, out; on a phone and on a desk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browsers import MARKS, OVERFLOW, chromium, context, on_two
from tests.cheap_accounts import accounts_of, password_of
from tests.ui.launched import Launched, client_to, launched

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

__all__ = ["chromium", "context"]  # fixtures, found by their names
pytestmark = MARKS
PASSWORD = password_of("ada")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    folder = tmp_path_factory.mktemp("login")
    with launched(folder, auth_file=accounts_of(folder, "ada").path) as page:
        yield page


def log_in(page: Page, password: str) -> None:
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


@on_two
def test_a_person_logs_in_makes_a_token_revokes_it_and_logs_out(
    context: BrowserContext, served: Launched
) -> None:
    page = context.new_page()
    page.goto(served.url)
    assert page.evaluate(OVERFLOW) <= 0
    log_in(page, "a wrong password")
    page.get_by_role("alert").get_by_text("is wrong; try again").wait_for()
    log_in(page, PASSWORD)
    page.locator("#convert").wait_for()
    page.locator("#account-open").get_by_text("ada").click()
    page.locator("#account-who").get_by_text("You are logged in as ada").wait_for()
    page.locator("#account-used").get_by_text("You use 0.0 MB").wait_for()
    page.locator("#token-name").get_by_role("textbox").fill("My laptop")
    page.locator("#token-create").click()
    page.locator("#token-code").get_by_text("tmb_").wait_for()
    shown = re.search(r"tmb_\w+", page.locator("#token-code").inner_text())
    assert shown
    program = client_to(served, headers={"Authorization": f"Bearer {shown[0]}"})
    assert program.predict(api_name="/account")["user_id"] == "ada"
    page.locator("#tokens label", has_text="My laptop").wait_for()
    assert page.evaluate(OVERFLOW) <= 0
    page.locator("#tokens label", has_text="My laptop").click()
    page.locator("#token-revoke").click()
    page.locator("#tokens label").wait_for(state="detached")

    page.locator("#account-close").click()
    page.locator("#account").wait_for(state="detached")
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Password").wait_for()
    page.go_back()
    page.reload()
    page.get_by_label("Password").wait_for()
    assert page.locator("#convert").count() == 0
