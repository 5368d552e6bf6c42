"""One logger for all stages: to the terminal and, where one is given, to a log file."""

import logging
import sys


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a stage, below the logger that `start_logging` set up."""
    return logging.getLogger(f"archloop.{name}")


def start_logging(log_file: str | None = None, mode: str = "w") -> None:
    """Send messages to the terminal and, with the time, to a log file where one is given."""
    root = logging.getLogger("archloop")
    root.setLevel(logging.INFO)
    root.propagate = False
    root.handlers.clear()

    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter("    %(message)s"))
    root.addHandler(terminal)
    if not log_file:
        return

    # A name of a file may be no UTF-8; then its odd bytes are written as \udcXX.
    whole = logging.FileHandler(log_file, mode=mode, encoding="utf-8", errors="backslashreplace")
    whole.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(whole)


def log_file() -> str | None:
    """Return the file that messages go to, for the processes that one starts."""
    for handler in logging.getLogger("archloop").handlers:
        if isinstance(handler, logging.FileHandler):
            return handler.baseFilename
    return None
