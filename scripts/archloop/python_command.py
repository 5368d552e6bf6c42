"""Commands that run this library in a Python of its own, from wherever it lies.

No path goes through PYTHONPATH, which is split at colons, and none of another project comes before
the library.
"""

import os
import pwd
import sys

from archloop.layout import SCRIPTS

LIBRARY = SCRIPTS
NAMES_OF_USER = ("LOGNAME", "USER", "LNAME", "USERNAME")  # where getpass looks
# With -P the folder that a process works in is not searched for modules.
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); "
MODULE = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"


def name_the_user() -> None:
    """Give a user without a name one, as in a container.

    Torch asks for it when it is imported, to name a folder.
    """
    if any(os.environ.get(name) for name in NAMES_OF_USER):
        return
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ["USER"] = f"user{os.getuid()}"


def run_code(code: str, *arguments: str) -> list[str]:
    """Return the command that runs Python code, which can import the library.

    The code finds its arguments in sys.argv.
    """
    return [sys.executable, "-P", "-c", START + code, str(LIBRARY), *arguments]


def run_module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of the library as a program."""
    return run_code(MODULE, name, *arguments)
