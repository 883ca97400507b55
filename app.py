"""Timbre: clone a voice, convert speech and song with it. Reads settings, builds the page, launches.

    python app.py                 the page on http://127.0.0.1:7860
    python app.py --share         the same, and a public link to it
    python app.py --demo          the page, and the example voice is trained and tried while it is served
    python app.py --demo-only     only that; ends when it is done
    python app.py --backup FILE   copies the registry; --restore FILE puts it back; --clean-up [--dry-run]
    python app.py --check         says what a server that is open to strangers still lacks: doctor --public
    python app.py --add-user ADA  lets Ada log in (AUTH_FILE), asks for her password; --remove-user ADA
    python app.py convert ...     a command, without the page (ui/command_line); --help lists them

This process serves and never computes: no torch here. Ctrl-C and SIGTERM end it in order; trainings are
saved and go on from there when they are resumed.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.logs import adopt_server_log, start_logging
from pipelines.settings import Settings, absolute, get_settings, warn_of_misspelt_names
from rvc.errors import ConfigError, RvcError
from rvc.files import is_disk_full

if TYPE_CHECKING:
    import gradio as gr

    from pipelines.jobs.service import Jobs
    from pipelines.jobs.workers import Backend

logger = logging.getLogger("timbre")

GRADIO_NUMBERS = ("GRADIO_NUM_PORTS", "GRADIO_NODE_NUM_PORTS", "GRADIO_DEBUG", "GRADIO_ANALYTICS_MAX_EVENTS")
ALONE = ("demo", "demo_only", "check", "clean_up", "backup", "restore", "add_user", "remove_user")
COMMANDS = (
    "Commands, each with its own --help: convert, cover, say, train, prepare, voices, import, export, "
    "is-synthetic, live-test, sbom, doctor."
)
FULL_DISK = (
    "The disk of the data folder is full, so Timbre cannot start; free some room on it, for example with "
    "python app.py --clean-up, or set DATA_DIR to another folder."
)
OPEN_TO_ALL = (
    "There is no login: everybody who reaches this page from outside this machine can use it, train on it "
    "and fill its disk (though nobody sees what others made). To ask for a password, set AUTH_FILE and add "
    "users with python app.py --add-user NAME."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with a command line, by default the process's own; returns the exit status."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given and not given[0].startswith("-"):
        from ui.command_line.program import run

        return run(given)
    arguments = read_arguments(given)
    if arguments.check:
        from ui.command_line.program import run

        folder = [] if arguments.data_dir is None else ["--data-dir", str(arguments.data_dir)]
        return run(["doctor", "--public", *folder])
    try:
        settings = get_settings()
        if arguments.data_dir is not None:
            settings = settings.model_copy(update={"data_dir": arguments.data_dir})
        start_logging(settings.log_format, settings.log_level)
        warn_of_misspelt_names()
        named = (arguments.backup, arguments.restore, arguments.add_user, arguments.remove_user)
        if not arguments.clean_up and all(one is None for one in named):
            return _run(arguments, settings)
        from pipelines.commands import run_command

        for line in run_command(arguments, settings):
            _say(line)
    except RvcError as error:
        logger.error("%s", error)  # noqa: TRY400  # the sentence is the message; a traceback would hide it
        return 1
    except OSError as error:
        if not is_disk_full(error):
            raise
        logger.error("%s", FULL_DISK)  # noqa: TRY400
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Clone a voice, and convert any recording into it.", epilog=COMMANDS
    )
    option, flag = parser.add_argument, partial(parser.add_argument, action="store_true")
    flag("--share", help="also make a public link, open to anyone who has it unless there are users")
    option("--host", help="address to serve on, 0.0.0.0 for all (default: API_HOST or 127.0.0.1)")
    option("--port", type=_port, help="port to serve on (default: API_PORT or 7860)")
    flag("--demo", help="train the example voice and convert a recording with it")
    flag("--demo-only", help="the same, and end instead of serving")
    option("--data-dir", type=_folder, help="folder of voices and jobs (default: DATA_DIR or ./data)")
    group = parser.add_argument_group("care for the data folder, instead of serving")
    care, care_flag = group.add_argument, partial(group.add_argument, action="store_true")
    care_flag("--clean-up", help="remove old jobs and files that belong to nothing")
    care_flag("--dry-run", help="with --clean-up: only say what would be removed")
    care_flag("--trust-clock", help="with --clean-up: though the clock seems to have been set, it is right")
    care("--backup", type=Path, metavar="FILE", help="copy the registry to a file")
    care_flag("--with-voices", help="with --backup: the voices' files too, as one zip")
    care("--restore", type=Path, metavar="FILE", help="put a backup in the registry's place, of either kind")
    care_flag("--check", help="say what a public server must have and this one lacks; changes nothing")
    option("--add-user", metavar="NAME", help="add a user to AUTH_FILE, or change the password")
    flag("--admin", help="with --add-user: one who sees everything")
    option("--remove-user", metavar="NAME", help="take a user out of AUTH_FILE; tokens and logins end")
    arguments = parser.parse_args(argv)
    asked = [f"--{name.replace('_', '-')}" for name in ALONE if getattr(arguments, name) not in (None, False)]
    if len(asked) > 1:
        parser.error(f"{' and '.join(asked)} do not go together; give one at a time")
    if arguments.dry_run and not arguments.clean_up:
        parser.error("--dry-run goes with --clean-up")
    if arguments.trust_clock and not arguments.clean_up:
        parser.error("--trust-clock goes with --clean-up")
    if arguments.with_voices and arguments.backup is None:
        parser.error("--with-voices goes with --backup")
    if arguments.admin and arguments.add_user is None:
        parser.error("--admin goes with --add-user")
    return arguments


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 65_536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 1 to 65535")


def _folder(text: str) -> Path:
    try:
        return absolute(Path(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(arguments: argparse.Namespace, settings: Settings) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from pipelines.jobs.service import Jobs

    _tell_gradio(settings)
    jobs = Jobs(settings, backend=_space(settings) if settings.spaces_zero_gpu else None)
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
    host, port = where_to_serve(arguments, settings)
    if os.environ["GRADIO_TEMP_DIR"] == str(_cache(settings)):
        # What a killed server left: copies and links only, and no other server uses this data folder.
        shutil.rmtree(_cache(settings), ignore_errors=True)
    from ui.page import build_page, launch_options
    from ui.server.services import Services

    services = Services.of(settings, jobs, shared=arguments.share)
    page = build_page(services)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=arguments.share,
            prevent_thread_lock=True,
            quiet=True,
            **launch_options(services, page),
        )
    except OSError as error:
        raise _port_refused(host, port, error) from error
    adopt_server_log()
    logger.info("Timbre is ready: %s", page.local_url)
    if warning := warning_of(arguments, host, settings):
        logger.warning("%s", warning)
    if page.share_url:
        logger.info("Public link, open to anyone who has it: %s", page.share_url)
    elif arguments.share:
        logger.warning("No public link could be made; the page is served here only.")
    return page


def _tell_gradio(settings: Settings) -> None:
    """Set what Gradio reads when it is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")
    os.environ.setdefault("GRADIO_TEMP_DIR", str(_cache(settings)))


def _cache(settings: Settings) -> Path:
    return settings.data_dir / "cache"


def _space(settings: Settings) -> Backend:
    """Return where jobs run on a ZeroGPU Space; its package is to be loaded before the page is launched."""
    try:
        from pipelines.jobs.processes import WORKER_COMMAND
        from pipelines.zerogpu import SpaceBackend
    except ModuleNotFoundError as error:
        if error.name != "spaces":
            raise
        raise ConfigError(
            "SPACES_ZERO_GPU is set, but the package spaces is not installed; pip install spaces, or set it "
            "to 0."
        ) from error
    return SpaceBackend(settings, WORKER_COMMAND)


def where_to_serve(arguments: argparse.Namespace, settings: Settings) -> tuple[str, int]:
    """Return host and port; a ConfigError if nobody could listen there.

    Gradio's own two variables are how a Space or a container says it. Gradio reads its numbers as it is
    imported, so they have to be ones.
    """
    for name in GRADIO_NUMBERS:
        if not os.environ.get(name, "0").strip().isdecimal():
            raise ConfigError(f"{name}: {os.environ[name]!r} is not a number; correct it in the environment.")
    host = arguments.host or os.environ.get("GRADIO_SERVER_NAME") or settings.api_host
    try:
        given = _port(os.environ["GRADIO_SERVER_PORT"]) if "GRADIO_SERVER_PORT" in os.environ else None
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"GRADIO_SERVER_PORT: {error}.") from error
    port = arguments.port or given or settings.api_port
    try:
        name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        family, kind, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise _port_refused(host, port, error) from error
        raise ConfigError(
            f"{host!r} is no address of this machine ({error}); serve on 127.0.0.1 for this machine alone or "
            "on 0.0.0.0 for the network, with --host, GRADIO_SERVER_NAME or API_HOST."
        ) from error
    return host, port


def _port_refused(host: str, port: int, error: OSError) -> ConfigError:
    return ConfigError(f"Port {port} on {host} cannot be used ({error}); choose another with --port.")


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
