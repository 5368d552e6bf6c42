"""What import statements bind: each name, the module that it comes from, the tokens of that."""

from functools import lru_cache

# Modules that are one token, however a program reaches them; each after its package.
MODULES = (
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.init",
    "torch.nn.modules",
    "torch.nn.parameter",
    "torch.nn.utils",
    "torch.nn.utils.parametrizations",
    "torch.optim",
    "torch.optim.lr_scheduler",
    "torch.amp",
    "torch.autograd",
    "torch.cuda",
    "torch.cuda.amp",
    "torch.fft",
    "torch.linalg",
    "torch.special",
    "torch.utils",
    "torch.utils.checkpoint",
    "torchvision.models",
    "torchvision.ops",
    "numpy.random",
    "collections.abc",
)
MAXIMUM_PIECES = 8  # names below a module that stand for an imported one


@lru_cache(maxsize=10_000)
def bindings(statement: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return (name, origin) for each name that an import statement, given as its tokens, binds.

    `from torch import nn as n` binds n to torch.nn, `import torch.nn` binds torch to torch.
    """
    keyword = len(statement)
    if "import" in statement:
        keyword = statement.index("import")
    module = "".join(statement[1:keyword])
    items = statement[keyword + 1 :]

    bound: list[tuple[str, str]] = []
    item: list[str] = []
    for token in (*items, ","):
        if token in ("(", ")", "\n", ";"):
            continue
        if token != ",":
            item.append(token)
            continue

        name, origin = _binding(item, module)
        if name.isidentifier() and "*" not in item:
            bound.append((name, origin))
        item = []

    return tuple(bound)


def _binding(item: list[str], module: str) -> tuple[str, str]:
    """Return (name, origin) of one item of an import statement; a fragment's name is none."""
    if not item:
        return "", f"{module}." if module else ""
    renamed = len(item) > 2 and item[-2] == "as"
    name = item[-1] if renamed else item[0]
    path = "".join(item[:-2] if renamed else item)

    if module:
        return name, f"{module}.{path}"
    # `import a.b` binds a alone, `import a.b as c` what is below it.
    return name, path if renamed else name


def pieces(origin: str) -> list[str]:
    """Return the tokens that stand for an origin: the longest of MODULES, then names below it."""
    first = "."
    if not origin.startswith("."):
        first = origin.partition(".")[0]
    for name in MODULES:
        is_inside = f"{origin}.".startswith(f"{name}.")
        if is_inside and len(name) > len(first):
            first = name

    tokens = [first]
    below = origin.removeprefix(first)
    for part in below.split(".", MAXIMUM_PIECES):
        if part:
            tokens += [".", part]

    return tokens
