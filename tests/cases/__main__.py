"""Put every case to a launched app, print what was expected and what came, and fail if a row is wrong."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.cases import of_files, of_sets, of_sound, of_voices
from tests.cases.case import App, Row

KINDS = {"sound": of_sound.cases, "files": of_files.cases, "sets": of_sets.cases, "voices": of_voices.cases}


def rows(kinds: list[str]) -> Iterator[Row]:
    from pipelines.jobs.processes import WORKER_COMMAND
    from tests.ui.launched import client_to, launched

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with launched(folder, worker=WORKER_COMMAND, max_file_size_mb=50) as page:
            client = client_to(page, headers={"x-timbre-token": "a-token-of-the-cases"})
            app = App(client)
            app.voices = {row["model_name"]: row["id"] for row in app.ask("list_models")}
            for kind in kinds or KINDS:
                (folder / kind).mkdir()
                try:
                    yield from KINDS[kind](app, folder / kind)
                except Exception as error:  # noqa: BLE001 -- the other kinds are asked all the same
                    yield Row(kind, "the rest of them", "no failure", str(error), right=False)


def main() -> int:
    print(f"{'':3}{'kind':16}{'case':34}{'expected':34}got")
    wrong = count = 0
    for row in rows(sys.argv[1:]):
        count += 1
        wrong += not row.right
        print(
            f"{'ok' if row.right else '!!':3}{row.kind:16}{row.name:34}{row.expected:34}{row.got}", flush=True
        )
    print(f"{count - wrong} of {count} are right")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
