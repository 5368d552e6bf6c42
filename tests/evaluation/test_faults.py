"""What an error says: that memory is missing, that a device fails, or nothing of the kind; always in one line."""

import pytest

from archloop.evaluation.faults import is_device, is_memory, line

BUSY = "AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable"


class Mute(Exception):
    def __str__(self):
        raise SystemExit


def test_an_error_is_one_line_of_bounded_length():
    assert line(ValueError("a\n\n b\tc ")) == "ValueError: a b c"
    assert line(ValueError("x" * 400)) == "ValueError: " + "x" * 288
    assert line(MemoryError()) == "MemoryError:"
    assert line(Mute()) == "Mute"
    assert line(type("L" * 400, (Mute,), {})()) == "L" * 300


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "hipErrorMemoryAllocation",
        "OUT OF MEMORY",
        "std::bad_alloc",
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes",
    ],
)
def test_missing_memory_is_known_by_what_every_library_calls_it(text):
    assert is_memory(RuntimeError(text))


@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        (BUSY, True),
        ("cuFFT error: CUFFT_INTERNAL_ERROR", True),
        ("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR", True),
        ("CUBLAS_STATUS_EXECUTION_FAILED", True),
        ("CUDNN_STATUS_MAPPING_ERROR", True),
        ("HIP error: unspecified launch failure", True),
        ("ValueError: memory", False),
        ("ValueError: alloc", False),
        ("", False),
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", True),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("RuntimeError: CUDA error: device-side assert triggered", False),
        ("RuntimeError: mat1 and mat2 shapes cannot be multiplied (16x10 and 12x10)", False),
    ],
)
def test_an_error_of_the_device_is_told_apart_from_one_of_the_program(text, faulty):
    assert is_device(text) == faulty
    assert not is_memory(RuntimeError(text))


def test_a_memory_error_is_one_whatever_it_says():
    assert is_memory(MemoryError("nothing"))
    assert not is_memory(ValueError("nothing"))
