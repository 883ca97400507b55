"""The page with toy work, as a process of its own: `python -m tests.load.server PORT DATA_DIR`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pipelines.jobs.service import Jobs
from pipelines.settings import Settings
from pipelines.store.records import new_job
from tests.toy_worker import TOY_WORKER, write_voice

UNLIMITED = {"UPLOADS_PER_HOUR": "0", "FILES_PER_HOUR": "0", "STARTS_PER_HOUR": "0"}


def main(port: int, data_dir: Path) -> None:
    """Serve until the process is ended."""
    os.environ["GRADIO_TEMP_DIR"] = str(data_dir / "cache")
    from ui.page import build_page, launch_options
    from ui.server.services import Services

    settings = Settings(data_dir=data_dir)
    jobs = Jobs(settings, worker_command=TOY_WORKER, retry_pauses_s=())
    job = new_job("nobody", "training", status="completed", seq=0, model_name="Toy", upload_id="u")
    jobs.library.adopt(job | {"id": "voice"}, write_voice(data_dir / "bundle"))
    jobs.library.offer_to_all("voice")
    jobs.start()
    services = Services.of(settings, jobs)
    page = build_page(services)
    options = launch_options(services, page)
    page.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **options)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
