"""A cluster without Ray: the lines of pipelines/cluster/bridge.py, its workers as processes of this machine.

TOY_CLUSTER names a file of JSON: {"nodes": {name: number of devices}}. A node that is taken out of it dies,
with all that runs on it; {"gone": true} ends the bridge itself. With {"pair": [two nodes]} there is a device
of two GPUs besides, one on each, while a job wants one; its workers find their group started. "yields" names
devices that yield.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from pipelines.jobs.processes import Child

Row = dict[str, Any]
LOOK_S = 0.05


class ToyBridge:
    def __init__(self, joining: Row) -> None:
        self._joining = joining
        self._said: Row | None = None
        self._workers: dict[int, Child] = {}
        self._nodes: dict[int, str] = {}
        self._pairs_wanted = 0
        self._lock = threading.Lock()

    def say(self, said: Row) -> None:
        with self._lock:
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()

    def look(self) -> None:
        state = json.loads(Path(os.environ["TOY_CLUSTER"]).read_text())
        if state.get("gone"):
            for child in self._workers.values():
                child.kill()
            os._exit(1)
        nodes: dict[str, int] = state["nodes"]
        for number, child in list(self._workers.items()):
            if self._nodes[number] not in nodes:
                child.kill()
            if child.returncode() is not None:
                child.reap()
                del self._workers[number]
                why = "" if self._nodes[number] in nodes else "the machine was lost"
                self.say({"worker": number, "exit": child.returncode(), "why": why})
        told: Row = {"nodes": [_node(name, count) for name, count in nodes.items()]}
        yields = state.get("yields", [])
        every: list[Row] = [
            {"device": f"{name}-{at}", "node": name, "name": name, "yields": f"{name}-{at}" in yields}
            for name, count in nodes.items()
            for at in range(count)
        ]
        pair = state.get("pair", [])
        if pair and self._pairs_wanted:
            every.append({"device": f"{pair[0]}-pair", "node": pair[0], "name": pair[0]})
            every[-1] |= {"nodes": pair, "gpus": 2, "yields": False}
        told["devices"] = every
        if told != self._said:
            self._said = told
            self.say(told)

    def do(self, order: Row) -> None:
        verb, number = order["do"], int(order.get("worker", 0))
        if verb == "want":
            self._pairs_wanted = order["devices"].get("2", 0)
        elif verb == "start":
            self._nodes[number], _, at = order["device"].rpartition("-")
            place = {"RANK": "0"} if at == "pair" else {}
            self._workers[number] = Child(
                [sys.executable, *self._joining["command"], *order["arguments"]],
                log_path=Path(order["log"]),
                environment=self._joining["environment"] | place,
                on_event=lambda _, event: self.say({"worker": number, "event": event}) if event else None,
            )
        elif (child := self._workers.get(number)) is not None:
            getattr(child, verb)(*([order["line"]] if verb == "send" else []))

    def leave(self) -> None:
        for child in self._workers.values():
            child.terminate()
        deadline = time.monotonic() + 5
        while any(child.returncode() is None for child in self._workers.values()):
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_S)


def _node(name: str, devices: int) -> Row:
    return {"id": name, "name": name, "address": "::1", "alive": True, "cpus": 4.0, "gpus": float(devices)}


def _listen(orders: SimpleQueue[Row | None]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    orders.put(None)


def main() -> None:
    orders: SimpleQueue[Row | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    joining = orders.get()
    if joining is None:
        return
    bridge = ToyBridge(joining)
    while True:
        bridge.look()
        try:
            order = orders.get(timeout=LOOK_S)
        except Empty:
            continue
        if order is None:
            bridge.leave()
            return
        if order["do"] != "drain":
            bridge.do(order)


if __name__ == "__main__":
    main()
