"""One logger for all stages, and progress with a rate and the time left."""

import logging
import sys
import time


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a stage, below the logger that `start_logging` set up."""
    return logging.getLogger(f"archloop.{name}")


def start_logging(log_file: str | None = None, mode: str = "w") -> None:
    """Send messages to the terminal (short) and, when given, to the rule's log file (with the time)."""
    root = logging.getLogger("archloop")
    root.setLevel(logging.INFO)
    root.propagate = False
    root.handlers.clear()
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("    %(message)s"))
    root.addHandler(terminal)
    if log_file:
        # A name of a file may be no UTF-8; then its odd bytes are written as \udcXX.
        whole = logging.FileHandler(
            log_file, mode=mode, encoding="utf-8", errors="backslashreplace"
        )
        whole.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(whole)


def log_file() -> str | None:
    """Return the file that messages go to, for the processes that one starts."""
    files = (
        getattr(handler, "baseFilename", None) for handler in logging.getLogger("archloop").handlers
    )
    return next(filter(None, files), None)


def duration(seconds: float) -> str:
    """Return seconds as people read them: `42 s`, `3 min 05 s`, `2 h 10 min`.

    >>> duration(185)
    '3 min 05 s'
    """
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Progress:
    """Count steps of known total and say, at most every few seconds, the rate and the time left.

    with Progress(len(batches), "batch", "fine-tuning") as progress:
        for batch in batches: ...; progress.step(note=f"loss {loss:.3f}")
    """

    def __init__(self, total: float, unit: str, label: str, every_s: float = 5.0):
        self.total, self.unit, self.label, self.every_s = total, unit, label, every_s
        self.done, self.note = 0.0, ""
        self.logger = get_logger("progress")

    def __enter__(self) -> "Progress":
        self.started = self.said = time.monotonic()
        return self

    def step(self, n: float = 1, note: str = "") -> None:
        self.done += n
        self.note = note or self.note
        now = time.monotonic()
        if now - self.said >= self.every_s and self.done < self.total:
            self.said = now
            rate = self.done / (now - self.started)
            left = duration((self.total - self.done) / rate) if rate else "unknown"
            self._say(
                f"{self.done:.0f} of {self.total:.0f} {self.unit}s, {_rate(rate, self.unit)}, {left} left"
            )

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            spent = time.monotonic() - self.started
            rate = self.done / spent if spent else 0.0
            self._say(
                f"{self.done:.0f} {self.unit}s in {duration(spent)}, {_rate(rate, self.unit)}"
            )

    def _say(self, text: str) -> None:
        self.logger.info("%s: %s%s", self.label, text, f", {self.note}" if self.note else "")


def _rate(per_second: float, unit: str) -> str:
    return (
        f"{per_second:.1f} {unit}s/s" if per_second >= 1 else f"{per_second * 60:.1f} {unit}s/min"
    )
