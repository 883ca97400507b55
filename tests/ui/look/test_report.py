"""The report on recordings as people see it, from the real report's own form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.recordings.report import DatasetReport
from ui.look.html import FOLDED_FROM, report_card


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
