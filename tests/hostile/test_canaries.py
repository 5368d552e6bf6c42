"""The battery can fail: the canaries notice each kind of touch."""

import os
import socket

import pytest
from canaries import ABSTRACT, FOLDER, PORT, VARIABLE, Canaries


def call(kind: int, address) -> None:
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX, kind) as caller:
        caller.connect(address)
        caller.send(b"here")


TOUCHES = {
    "write": lambda c: (c.folder / "target.txt").write_text("breach"),
    "write of as many bytes": lambda c: (c.folder / "target.txt").write_text("untouchee\n"),
    "delete": lambda c: (c.folder / "secret.txt").unlink(),
    "new file": lambda c: (c.folder / "open" / "new").touch(),
    "rename": lambda c: (c.folder / "secret.txt").rename(c.folder / "moved"),
    "truncate": lambda c: os.truncate(c.dataset, 10),
    "mode": lambda c: (c.folder / "secret.txt").chmod(0o777),
    "times": lambda c: os.utime(c.folder / "target.txt", (1, 1)),
    "hard link": lambda c: (c.folder / "open" / "link").hardlink_to(c.folder / "target.txt"),
    "symbolic link": lambda c: (c.folder / "open" / "link").symlink_to("/"),
    "tcp": lambda c: call(socket.SOCK_STREAM, ("127.0.0.1", c.port)),
    "udp": lambda c: call(socket.SOCK_DGRAM, ("127.0.0.1", c.port)),
    "unix": lambda c: call(socket.SOCK_STREAM, str(c.folder / "listen.sock")),
    "abstract": lambda c: call(socket.SOCK_STREAM, f"\0{c.abstract}"),
}


def test_untouched_canaries_are_silent():
    with Canaries() as planted:
        assert planted.problems() == []
        assert os.environ[VARIABLE] in planted.secrets
    assert VARIABLE not in os.environ
    assert not planted.folder.exists()


@pytest.mark.parametrize("touch", TOUCHES)
def test_touch_is_noticed(touch):
    with Canaries() as planted:
        TOUCHES[touch](planted)
        assert planted.problems()
        assert planted.problems() == []


def test_program_is_aimed_at_these_canaries():
    with Canaries() as planted:
        aimed = planted.aimed(f"{FOLDER}/target.txt {PORT} {ABSTRACT}")
        assert aimed == f"{planted.folder}/target.txt {planted.port} {planted.abstract}"
