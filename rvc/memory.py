"""Telling a shortage of memory from other faults, whoever reports it: few do so by a type of their own.

Light: it needs no torch, and knows its errors by their names.
"""

from __future__ import annotations

# In lower case. Of those who say something else than that memory is out:
_SAID = (
    "out of memory",  # torch's allocators (CUDA, HIP, XPU, MPS), the driver, the runtime
    "out_of_memory",
    "alloc_failed",  # cuBLAS, cuDNN before version 9, cuFFT, cuSOLVER, cuSPARSE
    "allocation_failed",  # cuDNN since version 9, cuRAND
    "cublas_status_not_initialized",  # a handle's workspace did not fit
    "cudnn_status_not_initialized",
    "nvml_success == r internal assert",  # torch's allocator, asking the driver how much is left
    "can't allocate memory",  # torch's allocator on the CPU: Linux and macOS,
    "not enough memory",  # Windows,
    "cannot allocate memory",  # and whoever gives the system's words on
    "invalid buffer size",  # MPS, for more at once than Metal gives
    "std::bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of a GPU or of the machine, did not suffice; a smaller batch may then do."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _SAID)
