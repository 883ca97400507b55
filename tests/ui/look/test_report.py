"""The report on recordings as people see it, from the real report's own form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.recordings.report import DatasetReport
from ui.look.html import FOLDED_FROM, refused_list, report_card
from ui.tabs.conversion_view import files_table


@pytest.fixture
def report() -> dict[str, Any]:
    path = Path(__file__).parents[1] / "report.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_the_example_has_the_form_of_the_real_report(report: dict[str, Any]) -> None:
    assert DatasetReport.from_json(report).to_json() == report


def test_the_verdict_the_advice_and_every_file_with_its_reason_are_shown(report: dict[str, Any]) -> None:
    html = report_card(report)
    for sentence in (*report["advice"], *(file["reason"] for file in report["files"])):
        assert sentence in html
    assert html.index(report["advice"][0]) < html.index(report["files"][0]["name"])


def test_names_of_files_are_text(report: dict[str, Any]) -> None:
    report["files"][0]["name"] = "<script>alert(1)</script>.wav"
    report["advice"] = ["Cut off: <b>x</b>"]
    html = report_card(report)
    assert "<script>" not in html
    assert "<b>" not in html


def test_nothing_measured_is_nothing_shown(report: dict[str, Any]) -> None:
    for name in ("snr_db", "bandwidth_hz", "f0_median_hz", "f0_low_hz", "f0_high_hz"):
        report[name] = None
    assert "None" not in report_card(report)


def test_many_files_are_folded_and_those_worth_a_look_are_counted(report: dict[str, Any]) -> None:
    report["files"] = [report["files"][1]] * FOLDED_FROM
    assert "all good" in report_card(report)
    report["files"] = [*report["files"], {**report["files"][0], "verdict": "problem"}]
    assert "1 worth a look" in report_card(report)


def test_of_thousands_of_files_those_worth_a_look_are_shown_first_and_the_rest_counted(
    report: dict[str, Any],
) -> None:
    good, bad = report["files"][1], {**report["files"][0], "verdict": "problem", "name": "grunt.wav"}
    report["files"] = [{**good, "name": f"line_{n:04d}.wav"} for n in range(1_999)] + [bad]
    html = report_card(report)
    assert "2,000 files, 1 worth a look" in html
    assert html.index("grunt.wav") < html.index("line_0000.wav")
    assert "line_0098.wav" in html
    assert "line_0099.wav" not in html
    assert "And 1,900 more." in html
    assert len(html) < 60_000


DULL = "It holds nothing above {khz} kHz (16 kHz recording): the voice will sound dull."


def test_what_holds_for_several_files_is_said_once_with_their_names(report: dict[str, Any]) -> None:
    report["advice"] = []
    first = report["files"][0]
    report["files"] = [
        {**first, "name": f"{name}.wav", "reason": DULL.format(khz=khz), "reasons": [DULL.format(khz=khz)]}
        for name, khz in (("ann", 7.3), ("bob", 7.1), ("cy", 7.3))
    ]
    report["files"][1]["reasons"].insert(0, "Its own fault.")
    html = report_card(report)
    assert html.count("the voice will sound dull") == 1
    assert f"{DULL.format(khz='7.1–7.3')} " in html  # noqa: RUF001
    assert "3 recordings: ann.wav, bob.wav, cy.wav" in html
    assert html.count("Usable") == 4, "the set's and each file's own"
    for name in ("ann", "bob", "cy"):
        assert f"<strong>{name}.wav</strong>" in html
    assert html.index("<strong>bob.wav") < html.index("Its own fault.") < html.index("<strong>cy.wav")


def test_of_many_files_some_are_named_and_of_good_ones_none(report: dict[str, Any]) -> None:
    dull, good = report["files"]
    report["files"] = [{**dull, "name": f"dull{n}.wav"} for n in range(30)]
    report["files"] += [{**good, "name": f"<b>{n}.wav"} for n in range(3)]
    html = report_card(report)
    assert "30 recordings: dull0.wav, " in html
    assert "dull11.wav and 18 more" in html
    assert "(3 recordings)" in html
    assert html.index("(30 recordings") < html.index("(3 recordings)")
    assert "<b>" not in html


def test_duplicates_of_several_files_are_told_apart(report: dict[str, Any]) -> None:
    one = {**report["files"][0], "reasons": []}
    report["files"] = [
        {**one, "reason": f"It is the same as {n} dB.wav.", "duplicate_of": f"{n} dB.wav"} for n in (3, 5)
    ]
    html = report_card(report)
    assert "the same as 3 dB.wav" in html
    assert "the same as 5 dB.wav" in html


def test_what_was_rejected_is_told_with_what_is_left(report: dict[str, Any]) -> None:
    assert "Rejected" not in report_card(report)
    html = report_card(report | {"rejected": {"rejected": 2, "rejected_s": 8.0, "left_s": 52.0}})
    assert "2 slices, 8.0 s; 52 s are left" in html


def test_files_that_were_not_used_are_listed_shortly_and_as_text(report: dict[str, Any]) -> None:
    assert "not used" not in report_card(report)
    refused = [{"name": f"<b>{n}", "reason": f"<b>{n} is silent; record it again."} for n in range(1_220)]
    html = report_card(report | {"refused": refused})
    assert "1,220 files are not used:" in html
    assert "&lt;b&gt;19 is silent; record it again." in html
    assert "&lt;b&gt;20 is silent" not in html
    assert "And 1,200 more." in html
    assert "<b>" not in html
    assert "a.wav: It is too much." in refused_list([{"name": "a.wav", "reason": "It is too much."}])


def test_what_was_noted_of_a_recording_is_shown_with_it(report: dict[str, Any]) -> None:
    report["files"][0]["note"] = "Its header is wrong by <b>an hour</b>."
    html = report_card(report)
    assert "Its header is wrong by &lt;b&gt;an hour" in html
    row = {"name": "a.wav", "status": "waiting", "seconds": 3.0, "note": "It was cut."}
    assert "It was cut." in files_table([row])
