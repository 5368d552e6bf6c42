"""Runs of Snakemake that do not import it again: each is a fork of a process that has, and whole in all else.

A run costs a second of processor time less so, and the tests make a hundred.
"""

import functools
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, NoReturn


def run(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess:
    """Run Snakemake in a folder as `python -m snakemake ARGUMENTS` does, and return what it said."""
    server = _server()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        descriptors = [output.fileno(), errors.fileno()]
        paths = [f"/proc/{os.getpid()}/fd/{descriptor}" for descriptor in descriptors]
        order = {
            "folder": str(folder),
            "arguments": list(map(str, arguments)),
            "environment": dict(os.environ),
            "streams": paths,
        }
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())

        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, status, output.read(), errors.read())


@functools.cache
def _server() -> subprocess.Popen:
    """Return this process's server, which ends with it."""
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _serve(orders: IO[str]) -> None:
    """Fork for each order, and write its exit status when it has ended."""
    for line in orders:
        child = os.fork()
        if not child:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(order: dict) -> NoReturn:
    """Be the run: what follows is as in a process of its own, to the exit of the interpreter."""
    from snakemake.cli import main

    nothing = os.open(os.devnull, os.O_RDONLY)
    streams = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in order["streams"]]
    for descriptor, stream in enumerate((nothing, *streams)):
        os.dup2(stream, descriptor)
        os.close(stream)

    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.argv = ["snakemake", *order["arguments"]]
    sys.exit(main(order["arguments"]))


def load_snakemake() -> None:
    """Import what every run imports, its plugins and their options, so that a fork of this process need not."""
    import jsonschema  # noqa: F401
    import smart_open  # noqa: F401
    import snakemake.cli
    import snakemake.dag
    import snakemake.report
    import snakemake.storage
    import snakemake.workflow

    snakemake.cli.get_argument_parser()
    gc.freeze()  # no collection of a fork goes through these objects again


if __name__ == "__main__":
    load_snakemake()
    _serve(sys.stdin)
