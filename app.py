"""Timbre: clone a voice, convert speech and song with it. Reads settings, builds the page, launches.

    python app.py                 the page on http://127.0.0.1:7860
    python app.py --share         the same, and a public link to it
    python app.py --demo          the page, and the example voice is trained and tried while it is served
    python app.py --demo-only     only that; ends when it is done
    python app.py --backup FILE   copies the registry; --restore FILE puts it back; --clean-up [--dry-run]
    python app.py --add-user ADA  lets Ada log in (AUTH_FILE); asks for her password

This process serves and never computes: no torch here. Ctrl-C and SIGTERM end it in order; trainings are
saved and go on from there when they are resumed.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.logs import adopt_server_log, start_logging
from pipelines.settings import Settings, get_settings, warn_of_misspelt_names
from rvc.errors import ConfigError, RvcError

if TYPE_CHECKING:
    import gradio as gr

    from pipelines.jobs.service import Jobs

logger = logging.getLogger("timbre")

OPEN_TO_ALL = (
    "There is no login: everybody who reaches this page from outside this machine can use it, train on it "
    "and fill its disk (though nobody sees what others made). To ask for a password, set AUTH_FILE and add "
    "users with python app.py --add-user NAME."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with a command line, by default the process's own; returns the exit status."""
    arguments = read_arguments(argv)
    try:
        settings = get_settings()
        if arguments.data_dir is not None:
            settings = settings.model_copy(update={"data_dir": arguments.data_dir.expanduser().resolve()})
        start_logging(settings.log_format, settings.log_level)
        warn_of_misspelt_names()
        named = (arguments.backup, arguments.restore, arguments.add_user)
        if not arguments.clean_up and all(one is None for one in named):
            return _run(arguments, settings)
        from pipelines.commands import run_command

        for line in run_command(arguments, settings):
            _say(line)
    except RvcError as error:
        logger.error("%s", error)  # noqa: TRY400  # the sentence is the message; a traceback would hide it
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Clone a voice, and convert any recording into it.")
    option, flag = parser.add_argument, partial(parser.add_argument, action="store_true")
    flag("--share", help="also make a public link, open to anyone who has it unless there are users")
    option("--host", help="address to serve on, 0.0.0.0 for all (default: API_HOST or 127.0.0.1)")
    option("--port", type=_port, help="port to serve on (default: API_PORT or 7860)")
    flag("--demo", help="train the example voice and convert a recording with it")
    flag("--demo-only", help="the same, and end instead of serving")
    option("--data-dir", type=Path, help="folder of voices and jobs (default: DATA_DIR or ./data)")
    group = parser.add_argument_group("care for the data folder, instead of serving")
    care, care_flag = group.add_argument, partial(group.add_argument, action="store_true")
    care_flag("--clean-up", help="remove old jobs and files that belong to nothing")
    care_flag("--dry-run", help="with --clean-up: only say what would be removed")
    care("--backup", type=Path, metavar="FILE", help="copy the registry to a file")
    care("--restore", type=Path, metavar="FILE", help="put a backup in the registry's place")
    option("--add-user", metavar="NAME", help="add a user to AUTH_FILE, or change the password")
    flag("--admin", help="with --add-user: one who sees everything")
    arguments = parser.parse_args(argv)
    if arguments.dry_run and not arguments.clean_up:
        parser.error("--dry-run goes with --clean-up")
    if arguments.admin and arguments.add_user is None:
        parser.error("--admin goes with --add-user")
    return arguments


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 65_536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 1 to 65535")


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from pipelines.jobs.service import Jobs

    jobs = Jobs(settings)
    page: gr.Blocks | None = None
    try:
        jobs.start()
        if not arguments.demo_only:
            page = serve(jobs, settings, arguments)
        done = _demonstrate(jobs, settings) if arguments.demo or arguments.demo_only else True
        if page is None:
            return 0 if done else 1
        if arguments.demo:
            _say(f"The page is open at {page.local_url}")
        while True:
            time.sleep(3600)  # until a signal comes
    finally:
        # A second signal must not cut short the saving of a training.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        logger.info("Ending: what runs is saved and can be resumed.")
        jobs.close()
        if page is not None:
            page.close(verbose=False)


def serve(jobs: Jobs, settings: Settings, arguments: argparse.Namespace) -> gr.Blocks:
    """Launch the page and return at once; a ConfigError if the port is taken."""
    # Gradio reads these when it is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    if "GRADIO_TEMP_DIR" not in os.environ:
        cache = settings.data_dir / "cache"
        # What a killed server left: copies and links only, and no other server uses this data folder.
        shutil.rmtree(cache, ignore_errors=True)
        os.environ["GRADIO_TEMP_DIR"] = str(cache)
    from ui.page import build_page, launch_options
    from ui.server.services import Services

    services = Services.of(settings, jobs, shared=arguments.share)
    page = build_page(services)
    # Gradio's own two variables are how a Space or a container says where to listen.
    host = arguments.host or os.environ.get("GRADIO_SERVER_NAME") or settings.api_host
    port = arguments.port or int(os.environ.get("GRADIO_SERVER_PORT") or settings.api_port)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=arguments.share,
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(services),
        )
    except OSError as error:
        raise ConfigError(
            f"Port {port} on {host} cannot be used ({error}); choose another with --port."
        ) from error
    adopt_server_log()
    logger.info("Timbre is ready: %s", page.local_url)
    if warning := warning_of(arguments, host, settings):
        logger.warning("%s", warning)
    if page.share_url:
        logger.info("Public link, open to anyone who has it: %s", page.share_url)
    elif arguments.share:
        logger.warning("No public link could be made; the page is served here only.")
    return page


def warning_of(arguments: argparse.Namespace, host: str, settings: Settings) -> str:
    """Return what to warn of when the page is open to strangers, "" when it is not."""
    try:
        only_here = host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        only_here = False
    return OPEN_TO_ALL if settings.auth_file is None and (arguments.share or not only_here) else ""


def _demonstrate(jobs: Jobs, settings: Settings) -> bool:
    from pipelines.demo import run_demo

    try:
        run_demo(jobs, settings, say=_say)
    except RvcError as error:
        _say(f"The demonstration did not succeed: {error}")
        return False
    return True


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
