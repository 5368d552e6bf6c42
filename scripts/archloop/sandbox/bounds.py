"""What one training may take: where a candidate's limits are made of the settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What one training may take."""

    timeout_s: float  # from the first line of the program to its end
    cpu_s: int  # processor time, of all threads together
    memory_mb: int
    threads: int


def bounds(timeout_s: float, memory_mb: int, threads: int) -> Bounds:
    """Return what one training may take by evaluation.timeout_s, memory_mb and threads.

    A program that uses no more threads than it is given meets the clock first.
    """
    cpu_s = int(timeout_s * threads) + 10
    return Bounds(timeout_s, cpu_s, memory_mb, threads)
