"""A child that says that it is there, by a file of its name, until it may go."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rvc.sandbox import Order, serve


def wait(order: Order) -> bytes:
    folder, name = Path(order["folder"]), order["name"]
    (folder / f"{name}.runs").touch()
    while not (folder / "go").exists() and not (folder / f"{name}.go").exists():
        time.sleep(0.02)
    (folder / f"{name}.runs").rename(folder / f"{name}.ran")
    return name.encode()


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], wait))
