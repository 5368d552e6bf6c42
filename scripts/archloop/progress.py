"""Progress with a rate and the time left."""

import time

from archloop.logs import get_logger
from archloop.quantities import duration


class Progress:
    """Count steps of known total and say, at most every few seconds, the rate and the time left.

    with Progress(len(batches), "batch", "fine-tuning") as progress:
        for batch in batches: ...; progress.step(note=f"loss {loss:.3f}")
    """

    def __init__(self, total: float, unit: str, label: str, every_s: float = 5.0):
        self.total = total
        self.unit, self.label = unit, label
        self.every_s = every_s
        self.done, self.note = 0.0, ""
        self.logger = get_logger("progress")

    def __enter__(self) -> "Progress":
        self.started = self.last_line = time.monotonic()
        return self

    def step(self, n: float = 1, note: str = "") -> None:
        """Count `n` more; the note, such as a loss, ends the next lines."""
        self.done += n
        self.note = note or self.note
        now = time.monotonic()
        too_soon = now - self.last_line < self.every_s
        if too_soon or self.done >= self.total:  # the last step has a line of its own
            return

        self.last_line = now
        per_second = self.done / (now - self.started)
        left = "unknown"
        if per_second:
            left = duration((self.total - self.done) / per_second)

        counted = f"{self.done:.0f} of {self.total:.0f} {self.unit}s"
        self._log(f"{counted}, {_rate(per_second, self.unit)}, {left} left")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return

        spent = time.monotonic() - self.started
        per_second = self.done / spent if spent else 0.0
        counted = f"{self.done:.0f} {self.unit}s in {duration(spent)}"
        self._log(f"{counted}, {_rate(per_second, self.unit)}")

    def _log(self, text: str) -> None:
        note = f", {self.note}" if self.note else ""
        self.logger.info("%s: %s%s", self.label, text, note)


def _rate(per_second: float, unit: str) -> str:
    if per_second >= 1:
        return f"{per_second:.1f} {unit}s/s"
    return f"{per_second * 60:.1f} {unit}s/min"
