"""What Timbre is made of: its packages as they are installed, what they need, and under which licences."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pipelines.marks.provenance import PROGRAM, VERSION
from pipelines.weights import MANIFEST
from rvc.files import ROOT

EXTRAS = ("requirements-songs.txt", "requirements-text.txt", "requirements-c2pa.txt")
REQUIREMENTS = ("requirements.txt", *EXTRAS)
TOOLS_BEGIN = "# Tests and checks"  # in requirements.txt; what follows is for developing
# What a package's own account of its licence leaves out: the native libraries in its wheel, and corrections.
INSIDE = {
    "praat-parselmouth": "Praat, GPL-3.0-or-later: so is the package",
    "espeakng-loader": "eSpeak NG, GPL-3.0-or-later",
    "phonemizer-fork": "GPL-3.0-or-later; only with requirements-text.txt",
    "av": "FFmpeg with x264 and x265, GPL-2.0-or-later, though the wheel says BSD or LGPL",
    "soundfile": "libsndfile, LGPL-2.1-or-later; LAME and mpg123, LGPL",
    "soxr": "libsoxr, LGPL-2.1-or-later",
    "numpy": "OpenBLAS, BSD-3-Clause; libgfortran, GPL-3.0 with the GCC runtime exception",
    "scipy": "OpenBLAS, BSD-3-Clause; libgfortran, GPL-3.0 with the GCC runtime exception",
    "torch": "CUDA builds bring NVIDIA's libraries, under NVIDIA's own terms",
}
COPYLEFT = re.compile(r"(?<![A-Z])A?GPL|General Public License", re.IGNORECASE)
_LICENCE = "License :: "


@dataclass(frozen=True, kw_only=True)
class Package:
    name: str  # as all its spellings are written
    version: str
    licence: str  # as its metadata says it; "" if it says nothing
    needs: tuple[str, ...]  # names
    extra: str  # the file of requirements that brings it, "" for requirements.txt

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.name}@{self.version}"

    @property
    def inside(self) -> str:
        return INSIDE.get(self.name, "")

    @property
    def is_gpl(self) -> bool:
        """Whether something in it is under the GPL, without an exception for what uses it."""
        said = f"{self.licence} {'' if 'exception' in self.inside else self.inside}"
        return COPYLEFT.search(re.sub(r"L(esser )?GPL|Lesser General Public License", "", said)) is not None


def packages() -> list[Package]:
    """Return every package that is installed for Timbre, without the tools for developing it, by name."""
    found: dict[str, Package] = {}
    for file in REQUIREMENTS:
        extra = "" if file == REQUIREMENTS[0] else file
        for requirement in asked(file):
            add(requirement, extra, found)
    return [found[name] for name in sorted(found)]


def asked(file: str) -> list[Requirement]:
    """Return what a file of requirements asks for, without those of other files and the tools."""
    text = (ROOT / file).read_text(encoding="utf-8").split(TOOLS_BEGIN)[0]
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def bill_of_materials() -> dict[str, Any]:
    """Return a CycloneDX document of the program, its packages, and the weights that it ships or fetches."""
    listed = packages()
    known = {package.name: package for package in listed}
    root = f"pkg:generic/{PROGRAM.lower()}@{VERSION}"
    direct = {canonicalize_name(one.name) for file in REQUIREMENTS for one in asked(file)}
    edges = [{"ref": root, "dependsOn": sorted(known[name].purl for name in direct & known.keys())}]
    edges += [
        {"ref": one.purl, "dependsOn": sorted(known[name].purl for name in one.needs if name in known)}
        for one in listed
    ]
    program = {"type": "application", "bom-ref": root, "name": PROGRAM, "version": VERSION}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(tz=UTC).isoformat(timespec="seconds"),
            "component": program | {"licenses": [{"license": {"id": "MIT"}}]},
        },
        "components": [*map(_component, listed), *_weights()],
        "dependencies": edges,
    }


def licence_table() -> str:
    """Return the packages with their licences in Markdown, those with parts under the GPL first."""
    listed = sorted(packages(), key=lambda one: (not one.is_gpl, one.name))
    lines = [
        "| package | version | licence | what is inside it | GPL | comes with |",
        "|---|---|---|---|---|---|",
    ]
    for one in listed:
        gpl = "yes" if one.is_gpl else ""
        cells = (one.name, one.version, one.licence or "not said", one.inside, gpl, one.extra or "always")
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def add(requirement: Requirement, extra: str, found: dict[str, Package]) -> None:
    """Add what a requirement brings, with all that it needs, by name; what is not installed is left out."""
    name = canonicalize_name(requirement.name)
    if name in found:
        return
    try:
        there = distribution(name)
    except PackageNotFoundError:
        return
    needed = list(_needed(there, requirement.extras))
    names = tuple(sorted({canonicalize_name(one.name) for one in needed}))
    found[name] = Package(
        name=name, version=there.version, licence=licence_of(there), needs=names, extra=extra
    )
    for one in needed:
        add(one, extra, found)


def _needed(there: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    for line in there.requires or ():
        try:
            one = Requirement(line)
        except InvalidRequirement:
            continue
        wanted = [{"extra": extra} for extra in ("", *extras)]
        if one.marker is None or any(one.marker.evaluate(environment) for environment in wanted):
            yield one


def licence_of(there: Distribution) -> str:
    """Return the licence that a package states of itself: an expression, else classifiers, else a word."""
    metadata = there.metadata
    if expression := metadata.get_all("License-Expression"):
        return str(expression[0])
    classifiers = metadata.get_all("Classifier") or []
    stated = [one.rsplit(" :: ", 1)[-1] for one in classifiers if one.startswith(_LICENCE)]
    if named := [one for one in stated if one != "OSI Approved"]:
        return "; ".join(named)
    words = metadata.get_all("License") or [""]
    return (str(words[0]).strip().splitlines() or [""])[0][:80]


def _component(package: Package) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "library", "bom-ref": package.purl, "purl": package.purl}
    shown |= {"name": package.name, "version": package.version}
    if package.licence:
        shown["licenses"] = [{"license": {"name": package.licence}}]
    properties = {"timbre:inside": package.inside, "timbre:extra": package.extra}
    told = [{"name": name, "value": value} for name, value in properties.items() if value]
    return shown | ({"properties": told} if told else {})


def _weights(manifest: Path = MANIFEST) -> Iterator[dict[str, Any]]:
    """Yield the networks' weights: those in the repository, and those that are downloaded when needed."""
    for path in sorted((ROOT / "assets" / "builtin").rglob("*.safetensors")):
        place = path.relative_to(ROOT).as_posix()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        shown = {"type": "machine-learning-model", "bom-ref": f"weights:{place}", "name": place}
        yield shown | {"hashes": [{"alg": "SHA-256", "content": digest}]}
    for name, entry in json.loads(manifest.read_text(encoding="utf-8")).items():
        shown = {"type": "machine-learning-model", "bom-ref": f"weights:{name}", "name": name}
        hashes = [{"alg": "SHA-256", "content": entry["sha256"]}] if entry.get("sha256") else []
        yield shown | {"hashes": hashes, "licenses": [{"license": {"name": str(entry.get("licence", ""))}}]}
