"""Which faults are a shortage of memory, by whom it was reported; nothing else is taken for one."""

from __future__ import annotations

import pytest
import torch

from rvc.errors import ConfigError
from rvc.memory import is_out_of_memory

SHORTAGES = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
    "CUDA driver error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":1016',
    "HIP out of memory. Tried to allocate 20.00 MiB",
    "XPU out of memory, please use `empty_cache` to release all unoccupied cached memory.",
    "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB).",
    "Invalid buffer size: 24.00 GiB",
    "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)",
    "[enforce fail at alloc_cpu.cpp:75] data. DefaultCPUAllocator: not enough memory: you tried to use 8",
]
OTHERS = [
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered",
    "The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "",
]


@pytest.mark.parametrize("said", SHORTAGES)
def test_a_shortage_of_memory_is_known_whoever_reports_it(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))


def test_errors_of_that_type_say_it_by_their_type() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.AcceleratorError("CUDA error: out of memory"))


def test_an_allocation_that_no_machine_can_hold_is_one() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        torch.empty(1 << 55)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("said", OTHERS)
def test_no_other_fault_is_taken_for_one(said: str) -> None:
    assert not is_out_of_memory(RuntimeError(said))


def test_words_alone_make_no_shortage_of_another_kind_of_error() -> None:
    assert not is_out_of_memory(ConfigError("The GPU is out of memory; close other programs."))
    assert not is_out_of_memory(ValueError("out of memory"))
