from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.monitoring import Gpu, Machine, ask_nvidia_smi, memory, read_gpus


def test_gpus_are_read_from_what_nvidia_smi_writes() -> None:
    answer = "0, NVIDIA H200, 143771, 4, 0\n1, NVIDIA A100, SXM4, 81920, 40960, 73\n"
    first, second = read_gpus(answer)
    assert first == Gpu(index=0, name="NVIDIA H200", memory_bytes=143_771 << 20, used_bytes=4 << 20, load=0.0)
    assert (second.name, second.load) == ("NVIDIA A100, SXM4", 0.73)


def test_what_a_gpu_does_not_tell_is_not_invented() -> None:
    (gpu,) = read_gpus("0, NVIDIA GB10, [N/A], [N/A], 12")
    assert (gpu.memory_bytes, gpu.used_bytes, gpu.load) == (None, None, 0.12)
    assert read_gpus("No devices were found\n") == []
    assert read_gpus("") == []


def test_an_nvidia_smi_that_fails_or_is_missing_means_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_nvidia_smi() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    assert ask_nvidia_smi() == []
    program.write_text("#!/bin/sh\necho 0, Toy, 100, 50, 10\n")
    assert ask_nvidia_smi() == [
        Gpu(index=0, name="Toy", memory_bytes=100 << 20, used_bytes=50 << 20, load=0.1)
    ]


def test_gpus_are_not_asked_for_at_every_request() -> None:
    asked = []

    def ask() -> list[Gpu]:
        asked.append(1)
        return []

    machine = Machine(ask)
    assert machine.gpus() == machine.gpus() == []
    assert len(asked) == 1
    assert machine.cores >= 1


def test_memory_is_what_the_kernel_says(tmp_path: Path) -> None:
    source = tmp_path / "meminfo"
    source.write_text("MemTotal:  2000 kB\nMemFree: 10 kB\nMemAvailable: 500 kB\n")
    found = memory(source)
    assert found is not None
    assert (found.total_bytes, found.available_bytes) == (2_048_000, 512_000)
    source.write_text("MemTotal: 2000 kB\n")
    assert memory(source) is None
    assert memory(tmp_path / "nothing") is None
