"""A stand-in for a GPU's driver: at its start it does what CUDA's driver was seen to do in the sandbox.

Run by the judge's server in place of a real training step: `server` gives the code of such a server.
"""

import errno
import fcntl
import os
import socket
import tempfile
import threading
from pathlib import Path

SERVER = """
import sys; sys.path.insert(0, {tests!r})
import stand_in
from archloop.evaluation import fork_server, warm_up
warm_up.take_a_step = lambda device: stand_in.drive({device!r}, {fault!r})
fork_server.main()
"""
kept = []


def server(device: str, fault: str = "") -> str:
    """Return the code of a judge's server whose GPU is this file ("" for none).

    fault: what more its driver does, and the sandbox refuses: `connect`, or `late name`.
    """
    return SERVER.format(tests=str(Path(__file__).parent), device=device, fault=fault)


def drive(device: str, fault: str) -> None:
    """Start the driver the first time, compute the second; raise OSError where the sandbox is in the way."""
    if not kept:
        _start(device)
    elif fault == "late name":
        _name_a_thread()
    if fault == "connect":
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect("\0archloop-nobody")
    _control(device)


def _start(device: str) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"\0cuda-uvmfd-{os.getpid()}-{os.urandom(4).hex()}")
    listener.listen()
    kept.append(listener)
    _name_a_thread()
    kept.append(os.memfd_create("driver"))
    handle, name = tempfile.mkstemp()
    os.close(handle)
    Path(name).rename(f"{name}.new").unlink()
    assert Path("/proc/self/maps").read_text()


def _name_a_thread() -> None:
    """Start a thread that the process keeps, and write its name through /proc, with truncation."""
    named, wrong = threading.Event(), []

    def work() -> None:
        try:
            place = f"/proc/self/task/{threading.get_native_id()}/comm"
            opened = os.open(place, os.O_WRONLY | os.O_TRUNC)
            os.write(opened, b"cuda-EvtHandlr")
            os.close(opened)
        except OSError as error:
            wrong.append(error)
        named.set()
        threading.Event().wait()

    threading.Thread(target=work, daemon=True).start()
    named.wait()
    if wrong:
        raise wrong[0]


def _control(device: str) -> None:
    if not device:
        return
    opened = os.open(device, os.O_RDWR)
    try:
        fcntl.ioctl(opened, 0xC020462A, bytes(32))
    except OSError as error:
        if error.errno != errno.ENOTTY:  # what a device that is no GPU says once it is asked
            raise
    finally:
        os.close(opened)
