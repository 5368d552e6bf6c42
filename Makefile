# make demo    sets everything up and runs the whole loop in small, with a real language model, without a GPU
# make test    sets everything up and runs the checks and tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-hostile test-slurm test-gpu check setup setup-dev clean

demo: $(VENV)/.ready
	@PATH="$(abspath $(BIN)):$$PATH" snakemake --profile profiles/local --configfile config/demo.yaml
	@$(BIN)/python scripts/status.py --results results

# Two files of tests at a time, one thread each, the long ones first. The
# hostile programs go apart, for what they leave in /tmp is looked for, and each pair of level and user in one process.
test: $(VENV)/.ready-dev check
	@PATH="$(abspath $(BIN)):$$PATH" pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/hostile
	@PATH="$(abspath $(BIN)):$$PATH" pytest -n 2 --dist loadgroup tests/hostile

# The hostile programs at the levels namespaces and landlock, each as root and as a plain user.
test-hostile: $(VENV)/.ready-dev
	@PATH="$(abspath $(BIN)):$$PATH" pytest -n 2 --dist loadgroup tests/hostile --all-levels

# The workflow on a real SLURM of this machine's own, which leaves nothing behind. As root, with Debian's packages
# slurmctld, slurmd, slurm-client, slurmdbd, mariadb-server and munge.
test-slurm: $(VENV)/.ready-dev
	@PATH="$(abspath $(BIN)):$$PATH" pytest tests/slurm -m slurm

# What benchmarks/gpu.sh does on a GPU, on the processors, in the sandbox for one; on demand some of its PHASES, in a
# folder WORK in which the next call goes on.
test-gpu: $(VENV)/.ready-dev
	@DEVICE=cpu WORK=$(or $(WORK),$$(mktemp -d)) PYTHON=$(abspath $(BIN))/python bash benchmarks/gpu.sh $(PHASES)

check: $(VENV)/.ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/snakefmt --check --compact-diff Snakefile rules
	@PATH="$(abspath $(BIN)):$$PATH" snakemake --lint --configfile config/demo.yaml

setup: $(VENV)/.ready

setup-dev: $(VENV)/.ready-dev

$(VENV)/.ready: envs/requirements.txt envs/constraints.txt
	@echo "Setting up $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements.txt -c envs/constraints.txt
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready envs/requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements-dev.txt -c envs/constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) .snakemake results resources logs
