"""Check a results folder against its provenance: digests, lineage back to the seeds, counts, known scores.

What it finds is one line each: `missing` (a file or its provenance), `altered` (other bytes than were written), `stale`
(made from other inputs, settings or code than are there now), `broken` (cannot be read) and `wrong` (numbers that do
not add up).
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from archloop.corpus.tables import read_candidates, read_corpus
from archloop.errors import InputError
from archloop.evaluation.cache_key import protocol_digest, score_key
from archloop.evaluation.records import FIELDS
from archloop.evaluation.score_store import all_records
from archloop.files import has_keys, read_json, read_jsonl, sha256_file, sha256_text
from archloop.layout import PROVENANCE_SUFFIX, REQUESTS_FILE, ROOT, SCRIPTS, SETTINGS_FILE
from archloop.model.prepared import MANIFEST, check_model
from archloop.monitoring import live_page
from archloop.outcomes import count_outcomes
from archloop.progress import Progress
from archloop.random_seeds import derive
from archloop.report.parts import VERIFIED
from archloop.settings.chains import MODEL, adapter_after, effective
from archloop.settings.complete import complete, scratch_model
from archloop.workflow.code_digest import code_digest
from archloop.workflow.provenance import (
    WITHOUT,
    locate,
    outputs_of,
    provenance_path,
    provenances,
    read_provenance,
)

# Settings that some stage takes without the rest of their section.
ALONE = {
    "epochs": "evaluation",
    "parameter_budget": "evaluation",
    "candidates": "cycle",
    "shards": "cycle",
}
KEY = re.compile("[0-9a-f]{64}")
# Files of a results folder that are no output of a job.
UNMADE = (SETTINGS_FILE, REQUESTS_FILE, "preflight.json", live_page.NAME, VERIFIED)


class Checked:
    """A results folder with what was read of it: provenance by file, digests, the run's settings."""

    def __init__(self, results: Path):
        self.results, self.findings, self.counts = results, [], Counter()
        self.settings = self._settings()
        self.digests: dict[Path, str | None] = {}
        self.codes: dict[str, str | None] = {}
        self.jobs: dict[Path, dict] = {}
        for path in provenances(results, results.parent / "resources"):
            found = self.read(path, read_provenance)
            if found is not None:
                self.jobs[path] = found
        self._leave_out_unused()

    def _leave_out_unused(self) -> None:
        """Leave out models and data sets that no result was made from: they may belong to other runs."""
        read = {
            os.path.normpath(locate(self.results, name))
            for each in self.jobs.values()
            for name in each["inputs"]
        }
        for path in [path for path in self.jobs if self.results not in path.parents]:
            if not any(os.fspath(output) in read for output in outputs_of(path, self.jobs[path])):
                del self.jobs[path]

    def _settings(self) -> dict:
        path = self.results / SETTINGS_FILE
        return (
            self.read(path, lambda each: complete(read_json(each, "chains", "random_seed"))) or {}
            if path.is_file()
            else {}
        )

    def say(self, kind: str, path: Path | str, what: str) -> None:
        self.counts[kind] += 1
        self.findings.append(f"{kind}: {path}: {what}")

    def read(self, path: Path, reader):
        """Return what the reader makes of a file; None, and a finding, where it cannot."""
        try:
            return reader(path)
        except InputError as error:
            self.counts["broken"] += 1
            self.findings.append(f"broken: {error}")
        except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            self.say(
                "broken",
                path,
                f"not as this workflow writes it ({' '.join(repr(error).split())[:80]})",
            )
        return None

    def digest(self, path: Path) -> str | None:
        """Return the sha256 of a file as it is, None when it is not there. Each file is read once."""
        path = Path(os.path.normpath(path))
        if path not in self.digests:
            self.digests[path] = sha256_file(path) if path.is_file() else None
        return self.digests[path]

    def code(self, script: str) -> str | None:
        """Return the digest of a script's code today, None where there is no such script."""
        if script not in self.codes:
            path = SCRIPTS / f"{script}.py"
            self.codes[script] = code_digest(path) if path.is_file() else None
        return self.codes[script]


def verify(results: Path) -> tuple[list[str], Counter]:
    """Return (a line for each thing that is wrong, how much was looked at and found by kind)."""
    if not results.is_dir():
        raise InputError(f"{results}: no such folder")
    checked = Checked(results)
    if not checked.jobs and not checked.findings:
        raise InputError(f"{results}: no provenance here; is it the folder of the results?")
    total = sum(len(found["outputs"]) for found in checked.jobs.values())
    with Progress(total, "file", "verify") as progress:
        for path, found in checked.jobs.items():
            _check_outputs(checked, path, found)
            why = out_of_date(checked, path, found)
            if why:
                checked.say("stale", path.with_name(path.name.removesuffix(PROVENANCE_SUFFIX)), why)
            progress.step(len(found["outputs"]))
    checked.counts["jobs"], checked.counts["files"] = len(checked.jobs), total
    _check_models(checked)
    _check_unknown(checked)
    _check_settings(checked)
    for chain, cycle in _cycles(checked):
        _check_cycle(checked, chain, cycle, results / chain / f"cycle-{cycle}")
    _check_scores(checked)
    return checked.findings, checked.counts


def not_as_recorded(checked: Checked, path: Path, found: dict) -> str | None:
    """Return why the outputs of a job are not those that its provenance tells of, or were made from other inputs."""
    for output, digest in zip(outputs_of(path, found), found["outputs"].values()):
        if checked.digest(output) != digest:
            return f"{output.name} was {'altered' if output.is_file() else 'lost'}"
    for name, digest in found["inputs"].items():
        if checked.digest(locate(checked.results, name)) not in (None, digest):
            return f"made from another {name}"
    return None


def out_of_date(checked: Checked, path: Path, found: dict) -> str | None:
    """Return what has changed since a job was done: an input, the code, a setting; None when nothing has."""
    for name, digest in found["inputs"].items():
        now = checked.digest(locate(checked.results, name))
        if now is None and name.startswith("results/"):
            return f"{name}, which it was made from, is missing"
        if now not in (None, digest):
            return f"made from another {name}"
    if checked.code(found["script"]) != found["code"]:
        return f"the code of {found['script']} has changed"
    return _other_settings(checked.settings, found, *_cell(checked.results, path))


def _other_settings(settings: dict, found: dict, chain: str, cycle: int) -> str | None:
    if not settings or chain not in settings["chains"]:
        return f"the settings of the run know no chain {chain}" if settings else None
    for section, values in found["settings"].items():
        now = _section_today(settings, section, chain, cycle)
        for key, value in values.items():
            if now.get(key) != value:
                return f"{section}.{key} was {value!r}, the settings say {now.get(key)!r}"
    for key, section in ALONE.items():
        was, now = found["options"].get(key), effective(settings, section, chain, cycle)[key]
        if was not in (None, now):
            return f"{section}.{key} was {was!r}, the settings say {now!r}"
    if "run" in found["options"]:
        told = json.loads(found["options"]["run"])
        other = next((key for key, value in told.items() if settings.get(key) != value), None)
        return f"{other} was other in the settings" if other else None
    seed, wanted = found["options"].get("seed"), (settings["random_seed"], _seed(settings, chain))
    if seed not in (None, *wanted, *(derive(each, chain, cycle, "finetune") for each in wanted)):
        return f"its seed {seed} is not that of the settings, {settings['random_seed']}"
    return None


def _section_today(settings: dict, section: str, chain: str, cycle: int) -> dict:
    if section != "scratch_model":
        return effective(settings, section, chain, cycle)
    kind, _, file = settings["model"]["reference"].partition(":")
    return scratch_model(ROOT / file) if kind == "scratch" else {}


def _seed(settings: dict, chain: str) -> int:
    """Return the seed of a chain, the run's where it has none of its own."""
    return settings["chains"][chain].get("random_seed", settings["random_seed"])


def _check_outputs(checked: Checked, path: Path, found: dict) -> None:
    for output, digest in zip(outputs_of(path, found), found["outputs"].values()):
        now = checked.digest(output)
        if now is None:
            checked.say("missing", output, f"{path.name} tells of it")
        elif now != digest:
            checked.say("altered", output, "other bytes than were written; delete it and run again")
    for output in outputs_of(path, found | {"outputs": {}}, run_records=True):
        checked.read(output, lambda each: read_json(each, "device"))


def _check_models(checked: Checked) -> None:
    """Check that every file of the models is there and as long as it was; their digests are in the manifests."""
    names = {
        name
        for found in checked.jobs.values()
        for name in found["inputs"]
        if Path(name).name == MANIFEST
    }
    for path in sorted(locate(checked.results, name) for name in names):
        if path.is_file():
            checked.read(path, lambda each: check_model(each.parent))


def _check_unknown(checked: Checked) -> None:
    """Name the files that no provenance tells of."""
    known = {
        each
        for path, found in checked.jobs.items()
        for each in outputs_of(path, found, run_records=True)
    }
    for place, folders, names in os.walk(checked.results):
        folders[:] = sorted(name for name in folders if name not in WITHOUT)
        for name in sorted(names):
            path = Path(place) / name
            if (
                path not in known
                and name not in UNMADE
                and not name.endswith(PROVENANCE_SUFFIX)
                and name[0] != "."
            ):
                checked.say(
                    "missing", provenance_path(path), "no provenance tells how this file was made"
                )


def _check_settings(checked: Checked) -> None:
    """Name the cycles that the run's settings want and that have no verdict."""
    if not checked.settings:
        checked.say(
            "missing",
            checked.results / SETTINGS_FILE,
            "the settings of the run, which a run leaves there",
        )
    for chain, facts in checked.settings.get("chains", {}).items():
        for cycle in range(1, facts.get("cycles", 0) + 1):
            place = checked.results / chain / f"cycle-{cycle}" / "summary.json"
            if not place.is_file():
                checked.say("missing", place, "the run is not finished")


def _cycles(checked: Checked) -> Iterator[tuple[str, int]]:
    for path in sorted(checked.results.glob("*/cycle-*/candidates.parquet")):
        yield _cell(checked.results, path)


def _cell(results: Path, path: Path) -> tuple[str, int]:
    """Return the chain and cycle that a file of the results belongs to; the seed's 0 for all others."""
    parts = Path(os.path.relpath(path, results)).parts
    if len(parts) > 2 and re.fullmatch(r"cycle-[1-9]\d*", parts[1]):
        return parts[0], int(parts[1].removeprefix("cycle-"))
    return (parts[0] if len(parts) > 2 and parts[1] == "architectures" else "seed"), 0


def _check_cycle(checked: Checked, chain: str, cycle: int, place: Path) -> None:
    """Check that the counts of a cycle agree from the prompts to the summary, and that its seeds and adapters do."""
    rows = checked.read(place / "candidates.parquet", lambda path: read_candidates([path]))
    shard = checked.read(place / "corpus.parquet", lambda path: read_corpus([path], ["id"]))
    known = checked.settings.get("chains", {}).get(chain)
    asked = known is None or known["source"] == MODEL
    prompts = checked.read(place / "prompts.jsonl", _prompts) if asked else []
    if rows is None or shard is None or prompts is None:
        return
    checked.counts["candidates"] += rows.height
    ids = sorted(rows["id"])
    for kind, suffix in (("generated", "jsonl"), ("evaluated", "json")):
        found = []
        for path in sorted((place / kind).glob(f"*.{suffix}")):
            if path.name.endswith(".run.json"):
                continue
            reader = (
                read_jsonl
                if kind == "generated"
                else lambda each: read_json(each, "records")["records"]
            )
            found += checked.read(path, lambda each: [str(row["id"]) for row in reader(each)]) or []  # noqa: B023
        if sorted(found) != ids:
            checked.say(
                "wrong",
                place / kind,
                f"{len(found)} candidates where candidates.parquet has {len(ids)}",
            )
    if asked and sorted(name for name, _, _ in prompts) != ids:
        checked.say(
            "wrong", place / "prompts.jsonl", f"{len(prompts)} prompts for {len(ids)} candidates"
        )
    if sorted(shard["id"]) != sorted(rows.filter(outcome="admitted")["id"]):
        checked.say(
            "wrong",
            place / "corpus.parquet",
            "other programs than candidates.parquet has as admitted",
        )
    if (place / "summary.json").is_file():
        summary = checked.read(
            place / "summary.json", lambda path: read_json(path, "funnel", "candidates")
        )
        counted = {"funnel": count_outcomes(rows["outcome"].to_list()), "candidates": len(ids)}
        if summary and any(summary[name] != value for name, value in counted.items()):
            checked.say("wrong", place / "summary.json", "other counts than candidates.parquet has")
    if known is None or not asked:
        return
    for name, index, seed in prompts:
        if seed != derive(_seed(checked.settings, chain), chain, cycle, "generate", index):
            checked.say(
                "wrong",
                place / "prompts.jsonl",
                f"the seed of {name} does not derive from the run's",
            )
            break
    before = adapter_after(checked.settings, chain, cycle - 1)
    parent = (
        checked.results
        / (f"{before[0]}/cycle-{before[1]}" if before and before[1] else "seed")
        / "adapter"
    )
    digest = checked.digest(parent / "adapter_model.safetensors") if before else None
    if set(rows["adapter"]) - {digest}:
        checked.say(
            "stale",
            place / "candidates.parquet",
            f"generated with another adapter than {parent} holds",
        )


def _prompts(path: Path) -> list[tuple[str, int, int]]:
    return [
        (str(row["id"]), row["index"], row["seed"])
        for row in read_jsonl(path, "id", "index", "seed")
    ]


def _check_scores(checked: Checked) -> None:
    """Check the store of known scores: each record under the key of what it is a function of, and quoted as it is."""
    kept = {}
    for path, key, read in all_records(checked.results / "evaluations"):
        checked.counts["scores"] += 1
        found = checked.read(path, lambda _: _kept(path, read()))  # noqa: B023
        if found is not None:
            kept[key] = found
        if found and not (
            KEY.fullmatch(key) and key[:2] in (path.name.partition(".")[0], path.parent.name)
        ):
            checked.say("wrong", path, f"{key} is no key of a score there")
    protocols: dict[str, str] = {}
    for path, made in checked.jobs.items():
        if made["script"] == "evaluate":
            checked.read(path, lambda each: _check_shard(checked, each, made, kept, protocols))  # noqa: B023


def _check_shard(
    checked: Checked, path: Path, made: dict, kept: dict, protocols: dict[str, str]
) -> None:
    """Check the scores of one shard. kept: key -> (digest, protocol) of the store; protocols: their digests so far."""
    shard = path.with_name(path.name.removesuffix(PROVENANCE_SUFFIX))
    (source,) = (locate(checked.results, name) for name in made["inputs"] if "/generated/" in name)
    (data,) = (digest for name, digest in made["inputs"].items() if "/datasets/" in name)
    rows = {row["id"]: row["program"] for row in read_jsonl(source, "id", "program")}
    judged = made["code"] == checked.code("evaluate")
    for name, key, facts in _scores(shard):
        known, protocol = kept.get(key, (facts, None))
        if known != facts:
            checked.say("wrong", shard, f"the score of {name} is not that under its key, {key}")
        elif protocol and judged and name in rows:
            text = json.dumps([data, protocol], sort_keys=True)
            protocols[text] = protocols.get(text) or protocol_digest(dataset=data, **protocol)
            if score_key(protocols[text], rows[name]) != key:
                checked.say(
                    "wrong", shard, f"the score of {name} is kept under {key}, which is not its key"
                )


def _kept(path: Path, record: dict) -> tuple[str, dict]:
    """Return (digest of what a kept score says, what its key is made of beside the program and the data)."""
    has_keys(record, ("outcome", "protocol", "seed", "device", "versions"), path)
    protocol = {name: record[name] for name in ("seed", "device", "versions")} | {
        "settings": record["protocol"]
    }
    return _facts(record), protocol


def _scores(path: Path) -> list[tuple[str, str, str]]:
    """Return (id, key, digest of what the score says) of the records of a shard."""
    rows = read_json(path, "records")["records"]
    return [(str(row["id"]), str(row["key"]), _facts(row)) for row in rows]


def _facts(record: dict) -> str:
    return sha256_text(json.dumps({name: record.get(name) for name in FIELDS}, sort_keys=True))
