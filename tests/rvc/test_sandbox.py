"""How many limited children run at once, and whose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from rvc import sandbox
from rvc.errors import LimitError

LIMITS = {"memory_bytes": 1_000_000_000, "cpu_s": 60, "file_bytes": 1_000_000}


class Children:
    """Starts children, which go when they are let go."""

    def __init__(self, folder: Path, threads: ThreadPoolExecutor) -> None:
        self._folder, self._threads = folder, threads

    def start(self, user: str, name: str) -> Future[bytes]:
        def run() -> bytes:
            with sandbox.on_behalf_of(user):
                order = {"folder": str(self._folder), "name": name, **LIMITS}
                return sandbox.run_sandboxed("tests.rvc.waiting_child", order, 60.0)

        future = self._threads.submit(run)
        time.sleep(0.05)  # they come in this order
        return future

    def running(self) -> set[str]:
        return {path.stem for path in self._folder.glob("*.runs")}

    def let_go(self, name: str = "") -> None:
        (self._folder / f"{name}.go").touch() if name else (self._folder / "go").touch()


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with ThreadPoolExecutor(40) as threads:
        made = Children(tmp_path, threads)
        yield made
        made.let_go()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_only_so_many_children_run_at_once(children: Children) -> None:
    many = [children.start(f"user {n}", str(n)) for n in range(sandbox.AT_ONCE + 3)]
    until(lambda: len(children.running()) == sandbox.AT_ONCE)
    time.sleep(2.0)  # as long as a child takes to begin
    assert len(children.running()) == sandbox.AT_ONCE
    children.let_go()
    assert [one.result(60) for one in many] == [str(n).encode() for n in range(len(many))]


def test_who_asks_for_much_leaves_places_for_others(children: Children) -> None:
    greedy = [children.start(f"greedy {n}", f"g{n}-{k}") for k in range(5) for n in range(sandbox.AT_ONCE)]
    until(lambda: children.running() == {f"g{n}-0" for n in range(sandbox.AT_ONCE)})
    one = children.start("other", "one")
    time.sleep(1.0)
    assert "one" not in children.running()  # each place is taken, once by each
    children.let_go("g0-0")
    until(lambda: "one" in children.running())  # before what the greedy have asked for earlier
    children.let_go()
    assert one.result(60) == b"one"
    assert len({future.result(60) for future in greedy}) == len(greedy)


def test_one_user_alone_takes_one_place(children: Children) -> None:
    mine = [children.start("me", f"m{n}") for n in range(3)]
    until(lambda: bool(children.running()))
    time.sleep(1.0)
    assert children.running() == {"m0"}
    yours = children.start("you", "y")
    until(lambda: children.running() == {"m0", "y"})
    children.let_go()
    assert yours.result(60) == b"y"
    assert [one.result(60) for one in mine] == [b"m0", b"m1", b"m2"]


def test_whose_turn_does_not_come_is_told_so(children: Children, monkeypatch: pytest.MonkeyPatch) -> None:
    first = children.start("me", "a")
    until(lambda: children.running() == {"a"})
    monkeypatch.setattr(sandbox, "PATIENCE_S", 0.1)
    with pytest.raises(LimitError, match=r"server is busy .+; try again in some minutes") as refusal:
        children.start("me", "b").result(30)
    assert refusal.value.retry_after_s > 0
    children.let_go()
    assert first.result(60) == b"a"
    assert children.start("me", "c").result(60) == b"c"  # who gave up left nothing behind
