"""What a program may reach in the libraries that it imports: an allow-list by module, looked up
where they really are.

A path such as torch.nn.functional.relu is walked part by part. What a part leads to decides, not
how it is spelled: `torch.os` and `torch.nn.functional.importlib` are the modules os and importlib,
whoever imported them. A name that the installed library does not have leads nowhere and is let by:
the program ends at it by itself.
"""

import importlib
import importlib.util
import sys
from functools import lru_cache
from types import ModuleType

# Modules whose names may be used, but for those that are DENIED.
MODULES = {
    "__future__",
    "abc",
    "bisect",
    "contextlib",
    "copy",
    "dataclasses",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "math",
    "numbers",
    "operator",
    "random",
    "re",
    "statistics",
    "string",
    "textwrap",
    "typing",
    "typing_extensions",
    "warnings",
    "torch",
    "torch.functional",
    "torch.overrides",
    "torch.quasirandom",
    "torch.random",
    "torch.return_types",
    "torch.types",
    "torch.utils",
    "torch.utils.checkpoint",
    "torch.version",
    "torch._vmap_internals",
    "torch._jit_internal",
    "torchvision",
    "torchvision.utils",
    "torchvision._utils",
    "torchvision._internally_replaced_utils",
    "numpy",
    "numpy.dtypes",
    "numpy.emath",
    "numpy.exceptions",
    "numpy.typing",
    "torch.utils.backend_registration",
}
# Packages of which every module may be used.
PACKAGES = (
    "collections",
    "torch.amp",
    "torch.ao",
    "torch.autograd",
    "torch.backends",
    "torch.cpu",
    "torch.cuda",
    "torch.distributions",
    "torch.fft",
    "torch.func",
    "torch.linalg",
    "torch.masked",
    "torch.mps",
    "torch.nested",
    "torch.nn",
    "torch.optim",
    "torch.quantization",
    "torch.signal",
    "torch.sparse",
    "torch.special",
    "torchvision.models",
    "torchvision.ops",
    "torchvision.transforms",
    "einops",
    "numpy.fft",
    "numpy.linalg",
    "numpy.ma",
    "numpy.polynomial",
    "numpy.random",
)
# Modules of which a network needs no more than these names.
PARTS = {
    "gc": "collect",
    "inspect": "Parameter isclass isfunction ismethod signature",
    "json": "dumps loads",
    "logging": """CRITICAL DEBUG ERROR INFO WARNING Formatter Logger NullHandler StreamHandler
        basicConfig debug error getLogger info warning""",
    "os": "environ getenv",
    "sys": "float_info maxsize version version_info",
    "time": "monotonic perf_counter time",
    "types": "FunctionType MethodType ModuleType NoneType SimpleNamespace",
    "torch._C": "_TensorMeta _disabled_torch_function_impl _get_tracing_state _log_api_usage_once",
    "torch._dynamo": "is_compiling",
    "torch.compiler": "is_compiling is_dynamo_compiling",
    "torch.fx": "wrap",
    "torch.jit": "Final _overload_method annotate export ignore is_scripting is_tracing unused",
    "torch.onnx": "is_in_onnx_export",
    "torch.utils.data": "DataLoader Dataset Subset TensorDataset",
    "torchvision._internally_replaced_utils": "load_state_dict_from_url",
}
# Below a module whose names may be used, what may not be reached.
DENIED = {
    "torch": """UntypedStorage TypedStorage compile from_file load save seed set_default_device
        set_default_dtype set_default_tensor_type set_num_interop_threads set_num_threads
        set_rng_state use_deterministic_algorithms""",
    "torch.random": "seed set_rng_state",
    "torchvision": "get_image_backend set_image_backend set_video_backend",
    "numpy": """DataSource fromfile genfromtxt load loadtxt memmap save savetxt savez
        savez_compressed""",
    "numpy.random": "seed",
    "random": "SystemRandom seed setstate",
    "operator": "attrgetter methodcaller",
    "copy": "_deepcopy_dispatch",
    "functools": "_lru_cache_wrapper",
}
# Modules of which everything may be imported at once.
STARS = ("collections", "dataclasses", "functools", "itertools", "math", "torch.nn", "typing")
DEEPEST = 12  # parts of a path that are looked at


def is_allowed(module: str) -> bool:
    """Say whether a module may be imported: as a whole, or for some of its names."""
    if module in PARTS or module in MODULES:
        return True

    # With points, so that torch.nn has no part in torch.nnx.
    return any(f"{module}.".startswith(f"{package}.") for package in PACKAGES)


# Bounded, for programs choose the paths.
@lru_cache(maxsize=100_000)
def look_up(path: str) -> tuple[str, str]:
    """Return ("module", its own name), ("object", the path) or ("refused", the path) for a dotted
    path.
    """
    if path.count(".") > DEEPEST:
        return "object", path
    before, _, name = path.rpartition(".")
    if not before:
        return ("module" if is_allowed(path) else "refused"), path

    kind, holder = look_up(before)
    if kind == "refused":
        return "refused", holder
    if kind == "object":
        return "object", path

    whole = f"{holder}.{name}"
    if _is_denied(holder, name):
        return "refused", whole
    module = _module(holder, name)
    if module is None:
        return "object", whole
    if is_allowed(module):
        return "module", module
    return "refused", whole


def _is_denied(module: str, name: str) -> bool:
    """Say whether a name of a module that may be used is one that may not be."""
    if name in DENIED.get(module, "").split():
        return True
    return module in PARTS and name not in PARTS[module].split()


@lru_cache(maxsize=1000)
def names_of(module: str) -> tuple[str, ...]:
    """Return the names that `from module import *` brings."""
    loaded = _loaded(module)
    if loaded is None:
        return ()
    return tuple(getattr(loaded, "__all__", _public(loaded)))


def _public(module: ModuleType) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")]


def _module(holder: str, name: str) -> str | None:
    """Return the own name of the module that `name` is in the module `holder`.

    None where it is no module.
    """
    loaded = _loaded(holder)
    if loaded is None:
        return None

    value = vars(loaded).get(name)
    if isinstance(value, ModuleType):
        return str(vars(value).get("__name__"))
    if name in vars(loaded) or not hasattr(loaded, "__path__"):
        return None

    # A part of a package that nobody has loaded yet.
    part = f"{holder}.{name}"
    try:
        spec = importlib.util.find_spec(part)
    except (ImportError, ValueError):
        return None
    return None if spec is None else part


def _loaded(module: str) -> ModuleType | None:
    """Return a module of the allow-list, None where it is not installed."""
    if module not in sys.modules:
        try:
            importlib.import_module(module)
        except Exception:
            # A broken installation of something is not this program's fault.
            return None
    return sys.modules.get(module)
