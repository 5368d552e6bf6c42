"""What the schema cannot see: settings that do not fit each other, or that name what is not there.

It would end some later job, or change nothing of what a person means; so it is refused, or warned
of, at the start.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path

from archloop.errors import InputError
from archloop.layout import FAMILY_TEMPLATES, SEED, Cell, dataset_path, manifest_path
from archloop.settings import chains
from archloop.settings.chains import typed_section
from archloop.settings.schema import section
from archloop.settings.sections import Admission, Cycle, Model, Prompts, SeedCorpus, Settings

# Classes of the data sets that have a name; those of one's own images are not known yet.
CLASSES = {
    "cifar10": 10,
    "cifar100": 100,
    "svhn": 10,
    "fashion_mnist": 10,
    "mnist": 10,
    "digits": 10,
}


def check_sections(settings: Settings) -> None:
    """Raise InputError for the first sections of complete settings that do not fit together."""
    has_images = settings["data"]["folder"] is not None
    for name, chain in settings["chains"].items():
        if chain["dataset"] == "folder" and not has_images:
            raise InputError(
                f"settings: chains.{name}.dataset: folder needs the path of your images in"
                " data.folder"
            )

    seed_corpus = SeedCorpus(**settings["seed_corpus"])
    if seed_corpus.source == "lemur" and seed_corpus.lemur_folder is None:
        raise InputError(
            "settings: seed_corpus.source: lemur needs the path of a checkout in"
            " seed_corpus.lemur_folder"
        )

    for name in _without_repeats(settings):
        if chains.source_of(settings, name) is None:
            _check_shards(settings, name)


def _check_shards(settings: Settings, chain: str) -> None:
    for cycle in chains.cycles_of(settings, chain):
        size = typed_section(settings, Cycle, chain, cycle)
        shards, candidates = size.shards, size.candidates
        if shards > candidates:
            raise InputError(
                f"settings: chains.{chain}, cycle {cycle}: cycle.shards: {shards} jobs cannot share"
                f" {candidates} candidates (cycle.candidates); lower it to {candidates} or less"
            )


def check_inputs(settings: Settings, root: Path) -> None:
    """Raise InputError for a file, a folder or a family that complete settings name and that is not
    there.

    Where all that is made of it exists, Snakemake would not miss it; or a job would, after hours.
    root: the repository, where the paths of prompts begin; others begin in the working directory.
    """
    seed_corpus = SeedCorpus(**settings["seed_corpus"])
    _check_families(seed_corpus)
    _check_prompt_files(settings, root)

    lemur = seed_corpus.lemur_folder
    if seed_corpus.source == "lemur" and not Path(lemur or "").is_dir():
        raise InputError(f"settings: seed_corpus.lemur_folder: {lemur}: no such folder")

    _check_images(settings)
    _check_model(Model(**settings["model"]))


def _check_images(settings: Settings) -> None:
    """Refuse a folder of images that is not there, unless the data set was prepared before."""
    used = {chain["dataset"] for chain in settings["chains"].values()}
    if "folder" not in used or dataset_path("folder").exists():
        return
    images = Path(settings["data"]["folder"])
    if not images.expanduser().is_dir():
        begins = "" if images.is_absolute() else f" in {Path.cwd()}"
        raise InputError(f"settings: data.folder: {images}: no such folder{begins}")


def _check_families(seed_corpus: SeedCorpus) -> None:
    """Refuse unknown families; those of a LEMUR checkout are known only when it is read."""
    families = seed_corpus.families
    if seed_corpus.source != "families" or families is None:
        return

    # By the names of the files: this module is read at every start of Snakemake, and the module
    # families.programs, which lists them too, imports jinja2.
    templates = FAMILY_TEMPLATES.glob("[a-z]*.py.j2")
    known = sorted(path.name.removesuffix(".py.j2") for path in templates)
    unknown = set(families).difference(known)
    if not unknown:
        return

    name = min(unknown)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "there are " + ", ".join(known)
    raise InputError(f"settings: seed_corpus.families: there is no family {name}; {hint}")


def _check_prompt_files(settings: Settings, root: Path) -> None:
    for name in settings["chains"]:
        for cycle in chains.cycles_of(settings, name):
            prompts = typed_section(settings, Prompts, name, cycle)
            where = "" if name == SEED else f"chain {name}, cycle {cycle}: "
            files = {"template": prompts.template, "hints": prompts.hints}

            for key, given in files.items():
                path = root / given
                if not path.is_file():
                    raise InputError(f"settings: {where}prompts.{key}: {path}: no such file")
                if "{" in given or "}" in given:
                    raise InputError(
                        f"settings: prompts.{key}: {given}: Snakemake takes braces for wildcards"
                    )


def _check_model(model: Model) -> None:
    """Refuse a model of this machine that is not there, unless it was prepared before."""
    kind, _, path = model.reference.partition(":")
    if manifest_path(model.name).exists():
        return
    if kind == "folder" and not Path(path).is_dir():
        raise InputError(f"settings: model.reference: {path}: no such folder")
    if kind == "gguf" and not Path(path).is_file():
        raise InputError(f"settings: model.reference: {path}: no such file")


def warnings(settings: Settings) -> list[str]:
    """Return a line for each of the settings that are allowed but hardly meant, in the order of the
    chains."""
    of_chains: dict[str, None] = {}  # each line once, whatever the number of cycles
    for name in _without_repeats(settings):
        dataset = settings["chains"][name]["dataset"]
        classes = CLASSES.get(dataset)
        for cycle in chains.cycles_of(settings, name):
            admission = typed_section(settings, Admission, name, cycle)
            for line in _of_admission(admission, classes):
                of_chains[f"chains.{name}: {line}"] = None

    return [*of_chains, *_of_headline(settings), *_of_seed_chain(settings)]


def _of_admission(admission: Admission, classes: int | None) -> Iterator[str]:
    threshold, fill = admission.threshold, admission.fill_accuracy
    if fill is not None and fill >= threshold:
        yield (
            f"admission.fill_accuracy: {fill} is not below the threshold, {threshold}, so nothing"
            " is filled up"
        )

    if admission.relative_to_chance:
        chance = 0.0
    elif classes is not None:
        # At least: the commonest class may be more common, which only the data set can tell.
        chance = 1 / classes
    else:
        return
    if threshold <= chance:
        yield (
            f"admission.threshold: {threshold} is no more than guessing scores, so what learns"
            " nothing is admitted"
        )


def _of_headline(settings: Settings) -> Iterator[str]:
    """Yield a line where the report is to be about a chain that is none: another would be taken."""
    loop = settings["report"]["loop"]
    if loop in settings["chains"] or loop == section("report")["loop"]["default"]:
        return
    yield (
        f"report.loop: there is no chain {loop}, so the headline is about the first one that learns"
    )


def _of_seed_chain(settings: Settings) -> Iterator[str]:
    """Yield a line where the chain that the report is about starts from programs that were measured
    on other data."""
    loop = settings["report"]["loop"]
    if loop == SEED or loop not in settings["chains"]:
        return
    if chains.parent_of(settings, loop) != Cell(SEED, 0):
        return

    measured = settings["chains"][SEED]["dataset"]
    wanted = settings["chains"][loop]["dataset"]
    if measured != wanted:
        yield (
            f"chains.{loop}.dataset is {wanted}, but cycle 0 measures its programs on {measured}"
            " (chains.seed.dataset)"
        )


def _without_repeats(settings: Settings) -> list[str]:
    """Return the chains but for the seed and for repeats, which differ in a random seed alone."""
    names = []
    for name, chain in settings["chains"].items():
        if name != SEED and chain["repeat_of"] == name:
            names.append(name)
    return names
