"""The versions that the tests have passed with, pinned.

    python -m tests.lock            writes constraints.txt from what is installed here
    python -m tests.lock --hashes   writes requirements.lock too: the same versions with the SHA-256 of their
                                    files for this kind of machine, as pip's package index gives them

constraints.txt holds for every platform and every build of torch (`pip install -r requirements.txt -c
constraints.txt`). requirements.lock is for one, x86-64 Linux with Python 3.11 and torch as the index has it:
pip refuses whatever has another sum, so builds of torch from elsewhere are installed by the constraints.
Neither file holds an address. What is not installed where this is run, is not pinned.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.checking import packages
from rvc.files import ROOT

CONSTRAINTS, LOCK = ROOT / "constraints.txt", ROOT / "requirements.lock"
IN_THE_IMAGE = ("requirements.txt", "requirements-songs.txt")  # what the lock holds
HEAD = (
    "# Versions that the tests have passed with; written by `python -m tests.lock`.\n"
    "# pip install -r requirements.txt -c constraints.txt\n"
)
HEAD_OF_LOCK = (
    "# The same with the sums of their files: x86-64 Linux, Python 3.11; `python -m tests.lock --hashes`.\n"
    "# pip install --require-hashes -r requirements.lock\n"
)


def tools() -> list[Requirement]:
    """What is needed for tests and checks."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8").split(packages.TOOLS_BEGIN)[1]
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def pins() -> dict[str, str]:
    """Name -> version of all that is installed here for the program, its extras, and its tests."""
    found = {one.name: one for one in packages.packages()}
    for requirement in tools():
        packages.add(requirement, "", found)
    # Builds of one version ("2.11.0+cpu") are told apart by the index that they come from, not here.
    return {name: found[name].version.split("+")[0] for name in sorted(found)}


def write_constraints() -> None:
    lines = [f"{name}=={version}\n" for name, version in pins().items()]
    CONSTRAINTS.write_text(HEAD + "".join(lines), encoding="utf-8")


def write_lock() -> None:
    """Ask pip what it would install, and with which sums."""
    with tempfile.TemporaryDirectory() as folder:
        asked, report = Path(folder) / "asked.txt", Path(folder) / "report.json"
        asked.write_text("\n".join(str(one) for file in IN_THE_IMAGE for one in packages.asked(file)))
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(report), "-r", str(asked), "-c", str(CONSTRAINTS)]
        subprocess.run(command, check=True)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    lines = {}
    for one in found:
        name, version = canonicalize_name(one["metadata"]["name"]), one["metadata"]["version"]
        digest = one["download_info"]["archive_info"]["hashes"]["sha256"]
        lines[name] = f"{name}=={version} --hash=sha256:{digest}\n"
    LOCK.write_text(HEAD_OF_LOCK + "".join(lines[name] for name in sorted(lines)), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--hashes", action="store_true", help="write requirements.lock too")
    write_constraints()
    if parser.parse_args().hashes:
        write_lock()


if __name__ == "__main__":
    main()
