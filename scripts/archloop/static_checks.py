"""What can be said of a program without running it: does it parse, is it tame, does it keep the contract?

An allow-list of imports and a list of names that no network needs. It is a courtesy that saves time, and keeps programs
from cheating in their own process (patching the optimiser, say); the walls around the process are what protects.
"""

import ast
import re
import warnings
from collections.abc import Iterator

MAXIMUM_BYTES = 200_000
MODULES = {
    *("__future__", "abc", "collections", "collections.abc", "contextlib", "copy", "dataclasses", "enum", "functools"),
    *("itertools", "math", "numbers", "numpy", "operator", "random", "typing", "typing_extensions", "warnings"),
    *("torch", "torch.amp", "torch.autograd", "torch.cuda.amp", "torch.fft", "torch.functional", "torch.linalg"),
    *("torch.nn", "torch.nn.functional", "torch.nn.init", "torch.nn.modules", "torch.nn.parameter", "torch.nn.utils"),
    *("torch.nn.utils.parametrizations", "torch.optim", "torch.optim.lr_scheduler", "torch.special"),
    *("torch.utils", "torch.utils.checkpoint", "torchvision", "torchvision.models", "torchvision.ops"),
}
# Below a module that may be imported, what may not be reached.
DENIED = {
    "torch": """_C _dynamo _inductor _ops classes compile distributed export from_file hub jit library load
        multiprocessing ops package profiler save seed serialization set_default_device set_default_dtype
        set_default_tensor_type set_num_interop_threads set_num_threads set_rng_state storage testing
        use_deterministic_algorithms utils.data utils.cpp_extension utils.dlpack UntypedStorage TypedStorage""",
    "torchvision": "datasets io get_image_backend set_image_backend set_video_backend",
    "numpy": """ctypeslib DataSource distutils f2py fromfile genfromtxt lib load loadtxt memmap random.seed
        save savetxt savez savez_compressed testing""",
    "random": "SystemRandom seed setstate",
    "operator": "attrgetter methodcaller",
    "copy": "_deepcopy_dispatch",
    "collections": "_sys",
    "functools": "_lru_cache_wrapper",
}
NAMES = {
    *("__builtins__", "__file__", "__import__", "__loader__", "__spec__", "breakpoint", "compile", "eval", "exec"),
    *("exit", "gc", "globals", "hash", "help", "id", "input", "inspect", "locals", "memoryview", "open", "os", "quit"),
    *("sys", "vars"),
}
ATTRIBUTES = {
    *("_C", "ag_frame", "cr_frame", "ctypeslib", "data_ptr", "f_back", "f_builtins", "f_globals", "f_locals"),
    *("from_buffer", "from_file", "gi_frame", "memmap", "share_memory_", "tb_frame", "tofile", "untyped_storage"),
}
DUNDERS = {"__call__", "__class__", "__enter__", "__exit__", "__init__", "__len__", "__name__", "__post_init__"}
SPECIAL_NAME = re.compile(r"__\w+__")


def check_program(program: str | None) -> tuple[str, str] | None:
    """Return (outcome, reason) for a program that is refused unrun: unparseable, unsafe or contract; else None."""
    if program is None:
        return "unparseable", "the answer holds no program"
    if len(program.encode("utf-8", "backslashreplace")) > MAXIMUM_BYTES:
        return "unparseable", f"longer than {MAXIMUM_BYTES} bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
            compile(tree, "<program>", "exec")
            unsafe = next(_unsafe(tree), None)
            missing = _missing(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return "unparseable", f"{type(error).__name__}: {error}"
    if unsafe:
        return "unsafe", unsafe
    return ("contract", missing) if missing else None


def _unsafe(tree: ast.Module) -> Iterator[str]:
    """Yield what is not allowed, in words."""
    modules = dict(_imported(tree))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _unsafe_import(node)
        elif isinstance(node, ast.Name):
            if node.id in NAMES and node.id not in modules:
                yield f"uses {node.id}"
        elif isinstance(node, ast.Attribute):
            yield from _unsafe_attribute(node, modules)
        elif isinstance(node, ast.Call):
            yield from _unsafe_call(node, modules)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            found = SPECIAL_NAME.search(node.value)
            if found and found[0] != "__main__":
                yield f"spells {found[0]}"


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (name in the program, what it stands for) of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (root, root)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _unsafe_import(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [(alias.name, alias.name) for alias in node.names]
    else:
        module = "." * node.level + (node.module or "")
        names = [(module, f"{module}.{alias.name}") for alias in node.names]
    for module, whole in names:
        if module not in MODULES:
            yield f"imports {module}"
        elif whole.endswith(".*") and whole != "torch.nn.*":
            yield f"imports everything from {module}"
        elif _denied(whole):
            yield f"imports {whole}"


def _unsafe_attribute(node: ast.Attribute, modules: dict[str, str]) -> Iterator[str]:
    if node.attr in ATTRIBUTES or (SPECIAL_NAME.fullmatch(node.attr) and node.attr not in DUNDERS):
        yield f"uses the attribute {node.attr}"
    whole = _dotted(node, modules)
    if whole is None:
        return
    if _denied(whole):
        yield f"uses {whole}"
    if not isinstance(node.ctx, ast.Load):
        yield f"changes {whole}"


def _unsafe_call(node: ast.Call, modules: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with a call of getattr, setattr or delattr: on modules and classes, or by a hidden name."""
    if not isinstance(node.func, ast.Name) or node.func.id not in ("getattr", "setattr", "delattr") or not node.args:
        return
    kind, target = node.func.id, node.args[0]
    of_self = isinstance(target, ast.Name) and target.id == "self"
    if of_self:
        return
    if kind != "getattr":
        yield f"uses {kind} on something other than self"
        return
    name = node.args[1] if len(node.args) > 1 else None
    known = isinstance(name, ast.Constant) and isinstance(name.value, str)
    whole = _dotted(target, modules)
    if known and (name.value in ATTRIBUTES or (whole and _denied(f"{whole}.{name.value}"))):
        yield f"uses {name.value}"
    if not known and whole not in ("torch.nn", "torch.nn.functional"):
        yield "uses getattr with a computed name"


def _dotted(node: ast.expr, modules: dict[str, str]) -> str | None:
    """Return torch.nn.Conv2d for nn.Conv2d, None when the expression does not start with an imported name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in modules:
        return None
    return ".".join([modules[node.id], *reversed(parts)])


def _denied(whole: str) -> bool:
    root, _, rest = whole.partition(".")
    denied = DENIED.get(root, "").split()
    return any(rest == name or rest.startswith(name + ".") for name in denied)


def _missing(tree: ast.Module) -> str | None:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "Net" not in classes:
        return "no class Net"
    methods = {node.name for node in classes["Net"].body if isinstance(node, ast.FunctionDef)}
    if not {"__init__", "forward"} <= methods:
        return f"Net has no {' and no '.join(sorted({'__init__', 'forward'} - methods))}"
    return None if "supported_hyperparameters" in functions else "no function supported_hyperparameters"
