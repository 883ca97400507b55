"""What the README and the pages beside it say of the repository is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rvc.files import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROMISES = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
ROWS = [line for line in PROMISES.splitlines() if line.startswith("| ")][1:]
LINKS = [
    (page, target)
    for page in PAGES
    for target in sorted(set(re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8"))))
]
NAMED = re.compile(r"([\w/]+\.py|[a-z]+/)?(?:::(\w+))?")


def shown_by(row: str) -> list[tuple[str, str]]:
    """(File or folder, beginning of a test's name) in a row; a name alone is of the file before."""
    named: list[tuple[str, str]] = []
    for part in row.strip("| ").split(" | ")[-1].split(", "):
        match = NAMED.fullmatch(part)
        assert match, f"{part!r} names no test"
        named.append((match[1] or named[-1][0], match[2] or ""))
    return named


def test_every_promise_has_a_row() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", [row for row in ROWS if not row.endswith(("| - |", "| all of it |"))])
def test_what_shows_a_promise_is_there(row: str) -> None:
    for place, beginning in shown_by(row):
        path = ROOT / "tests" / place
        assert path.exists(), place
        if beginning:
            assert f"\ndef {beginning}" in path.read_text(encoding="utf-8"), f"{place}::{beginning}"


@pytest.mark.parametrize(("page", "target"), LINKS, ids=[f"{page.name}-{target}" for page, target in LINKS])
def test_links_lead_somewhere(page: Path, target: str) -> None:
    file, _, section = target.partition("#")
    there = page.parent / file if file else page
    assert there.exists()
    if section:
        headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
        assert section in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
