"""What an error says: that memory is missing, or that a device fails. Texts alone: a program can raise anything."""

from archloop.errors import LONGEST_LINE, kind_and_line

# As PyTorch, CUDA and its libraries put it; the last is what cuBLAS says when its first workspace does not fit.
MEMORY = (
    "out of memory",
    "alloc_failed",
    "bad_alloc",
    "memoryallocation",
    "cublas_status_not_initialized",
)
DEVICE = (
    "cuda error",
    "cudnn error",
    "cudnn_status_",
    "cublas_status_",
    "cufft_",
    "cusolver_",
    "hip error",
)
# A check in a kernel that found an index out of range, which is the program's doing.
ASSERTION = "device-side assert"


def line(error: BaseException) -> str:
    """Return an error as one line, 300 characters at most."""
    try:
        return kind_and_line(error)
    except BaseException:  # its own __str__ fails
        return type(error).__name__[:LONGEST_LINE]


def is_memory(error: BaseException) -> bool:
    """Say whether an error is one of memory that is missing, on the machine or on its GPU."""
    if isinstance(error, MemoryError):
        return True

    text = line(error).lower()
    if any(part in text for part in MEMORY):
        return True
    return "memory" in text and "alloc" in text


def is_device(text: str) -> bool:
    """Say whether a line tells of a GPU that fails, whatever ran on it: busy, lost, or with errors of its memory."""
    text = text.lower()
    return any(part in text for part in DEVICE) and ASSERTION not in text
