"""Names that no network needs, and that lead out of one: what the static checks refuse by name."""

import re

# Builtins, and names of every module, that are refused unless they are a function's own.
NAMES = {
    "__builtins__",
    "__file__",
    "__import__",
    "__loader__",
    "__spec__",
    "breakpoint",
    "compile",
    "eval",
    "exec",
    "exit",
    "globals",
    "hash",
    "help",
    "id",
    "input",
    "locals",
    "memoryview",
    "open",
    "quit",
    "vars",
}
ATTRIBUTES = {
    "_C",
    "ag_frame",
    "cr_frame",
    "ctypeslib",
    "data_ptr",
    "f_back",
    "f_builtins",
    "f_globals",
    "f_locals",
    "from_buffer",
    "from_file",
    "gi_frame",
    "memmap",
    "share_memory_",
    "tb_frame",
    "tofile",
    "untyped_storage",
    "builtins",
    "ctypes",
    "import_module",
    "importlib",
    "subprocess",
}
DUNDERS = {
    "__annotations__",
    "__call__",
    "__class__",
    "__doc__",
    "__enter__",
    "__exit__",
    "__init__",
    "__len__",
    "__module__",
    "__name__",
    "__new__",
    "__post_init__",
    "__qualname__",
    "__version__",
}
# Special methods that a class may call of itself or of the class that it inherits from.
OWN_DUNDERS = {
    "__contains__",
    "__delattr__",
    "__delitem__",
    "__dict__",
    "__dir__",
    "__getattr__",
    "__getitem__",
    "__iter__",
    "__getstate__",
    "__init_subclass__",
    "__repr__",
    "__setattr__",
    "__setitem__",
    "__setstate__",
    "__str__",
}
# What a text may spell.
SPELLED = DUNDERS | {"__main__"}
SPECIAL_NAME = re.compile(r"__\w+__")


def is_hidden(name: str, of_self: bool = False, looked_up: bool = False) -> bool:
    """Say whether an attribute is none of a network's. of_self: it is of self or super().

    looked_up: the allow-list knows it.
    """
    if name in ATTRIBUTES and not looked_up:
        return True
    allowed = DUNDERS | OWN_DUNDERS if of_self else DUNDERS
    return bool(SPECIAL_NAME.fullmatch(name)) and name not in allowed


def spelled_name(text: str) -> str | None:
    """Return the first special name in a text, None where there is none or it is harmless."""
    match = SPECIAL_NAME.search(text)
    if match is None or match[0] in SPELLED:
        return None
    return match[0]
