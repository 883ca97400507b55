"""Versions are pinned, files are held to their sums, and what a redistribution contains is written down."""

from __future__ import annotations

import json
import re
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.checking.packages import (
    EXTRAS,
    INSIDE,
    REQUIREMENTS,
    Package,
    asked,
    bill_of_materials,
    licence_table,
    packages,
)
from rvc.files import ROOT
from tests.lock import CONSTRAINTS, IN_THE_IMAGE, LOCK, tools

PIN = re.compile(r"([a-z0-9-]+)==([^ ;]+)(.*)")
TABLE = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
# Extras that need not be installed where constraints.txt is made.
NOT_PINNED = {"kokoro-onnx"}


def pins(text: str) -> dict[str, tuple[str, str]]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [PIN.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {match[1]: (match[2], match[3]) for match in found if match}


PINNED = pins(CONSTRAINTS.read_text(encoding="utf-8"))
HELD = pins(LOCK.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "requirement", [*(one for file in REQUIREMENTS for one in asked(file)), *tools()], ids=str
)
def test_what_is_asked_for_is_pinned_to_a_version_that_fits(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    if name in NOT_PINNED and name not in PINNED:
        return
    assert requirement.specifier.contains(PINNED[name][0], prereleases=True)


def test_the_lock_has_the_pinned_versions_with_a_sum_each() -> None:
    for name, (held, rest) in HELD.items():
        assert re.fullmatch(r" --hash=sha256:[0-9a-f]{64}", rest), name
        assert name in PINNED, name
        assert PINNED[name][0] == held, name
    wanted = {canonicalize_name(one.name) for file in IN_THE_IMAGE for one in asked(file)}
    assert wanted <= HELD.keys()
    assert "pytest" not in HELD


def test_no_file_names_an_address() -> None:
    for path in (CONSTRAINTS, LOCK, *(ROOT / file for file in REQUIREMENTS)):
        assert "://" not in path.read_text(encoding="utf-8"), path.name


def test_ci_and_the_image_install_what_is_pinned() -> None:
    assert "-c constraints.txt" in (ROOT / ".ci" / "run").read_text()
    image = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r requirements.lock" in image
    assert "-c constraints.txt" in image


def test_the_bill_of_materials_lists_each_package_once_with_its_version_and_licence() -> None:
    bill = bill_of_materials()
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    assert json.loads(json.dumps(bill)) == bill
    libraries = [one for one in bill["components"] if one["type"] == "library"]
    refs = [one["bom-ref"] for one in bill["components"]]
    assert len(refs) == len(set(refs))
    by_name = {one["name"]: one for one in libraries}
    for name in ("torch", "gradio", "praat-parselmouth", "numpy"):
        assert by_name[name]["version"] == version(name).split("+")[0] or by_name[name]["version"]
        assert by_name[name]["purl"] == f"pkg:pypi/{name}@{by_name[name]['version']}"
    assert "GPL" in json.dumps(by_name["praat-parselmouth"]["licenses"]) or "General Public" in json.dumps(
        by_name["praat-parselmouth"]["licenses"]
    )
    assert not {"pytest", "ruff", "mypy"} & by_name.keys()
    known = {*refs, bill["metadata"]["component"]["bom-ref"]}
    for edge in bill["dependencies"]:
        assert {edge["ref"], *edge["dependsOn"]} <= known
    weights = [one for one in bill["components"] if one["type"] == "machine-learning-model"]
    assert any(one["name"].endswith("kathleen/model.safetensors") for one in weights)


def test_the_page_of_licences_names_every_package_and_which_are_under_the_gpl() -> None:
    rows = dict(re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \|", TABLE, re.MULTILINE))
    for one in packages():
        assert one.name in rows, f"python app.py sbom --licences has {one.name}, docs/licences.md has not"
    said = {line.split(" | ")[0].strip("| ") for line in TABLE.splitlines() if " | yes | " in line}
    assert {"av", "espeakng-loader", "praat-parselmouth"} <= said
    assert said == {one.name for one in packages() if one.is_gpl} | (said & {"phonemizer-fork"})
    assert licence_table().count("\n") == len(packages()) + 2


@pytest.mark.parametrize(
    ("name", "licence", "gpl"),
    [
        ("x", "GPL-3.0-or-later", True), ("x", "GNU General Public License v3 (GPLv3)", True),
        ("x", "LGPL-2.1-or-later", False), ("x", "GNU Lesser General Public License v2 (LGPLv2)", False),
        ("x", "MIT", False), ("x", "AGPL-3.0-only", True), ("espeakng-loader", "", True),
        ("numpy", "BSD", False), ("soundfile", "BSD-3-Clause", False),
    ],
)  # fmt: skip
def test_the_gpl_is_told_from_its_weaker_sisters(name: str, licence: str, gpl: bool) -> None:
    assert Package(name=name, version="1", licence=licence, needs=(), extra="").is_gpl is gpl


def test_what_is_said_of_packages_is_of_packages_that_are_used() -> None:
    names = {*PINNED, *(canonicalize_name(one.name) for file in EXTRAS for one in asked(file))}
    assert INSIDE.keys() - {"phonemizer-fork"} <= names
