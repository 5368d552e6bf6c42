#!/bin/bash
# Packs what a machine with a GPU and torch lacks, for benchmarks/gpu.sh there: run where there is a network.
#
#   PYTHON_VERSION=3.12 bash benchmarks/gpu_packages.sh    writes .gpu/packages.tar.xz, for x86_64
#
# Left out is what comes with torch and transformers on such a machine, and what only the report, SLURM and the checks need.
# 41 MiB, most of it Polars; nine minutes on two slow, busy cores.
set -e
cd "$(dirname "$0")/.."
python=${PYTHON_VERSION:-3.12} wheels=$(mktemp -d) site=$(mktemp -d)
there='torch|torchvision|triton|transformers|tokenizers|peft|accelerate|bitsandbytes|huggingface.hub|hf.xet'
there+='|numpy|scipy|scikit.learn|joblib|threadpoolctl|pillow|gguf|safetensors|sympy|mpmath|networkx|regex'
there+='|altair|narwhals|pandas|vl.convert.*|ruff|snakefmt|black|shfmt.py|snakemake.executor.*'
platforms=()
for tag in 2_34 2_31 2_28 2_24 2_17; do platforms+=(--platform "manylinux_${tag}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
sed -E 's/[[:space:]]*(#.*)?$//' envs/requirements.txt envs/requirements-dev.txt envs/constraints.txt \
  | grep -E '^[A-Za-z].*==' | grep -viE "^($there)==" | sort -u > "$wheels/names"
while read -r name; do
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$python" --implementation cp \
    "${platforms[@]}" -d "$wheels" "$name" 2> /dev/null || python3 -m pip wheel -q --no-deps -w "$wheels" "$name"
done < "$wheels/names"
for wheel in "$wheels"/*.whl; do python3 -m zipfile -e "$wheel" "$site"; done
# The solvers of other systems, and the symbols of compiled modules.
find "$site/pulp/solverdir" -mindepth 2 -maxdepth 3 -type d ! -path '*linux' ! -path '*linux/i64' -prune -exec rm -rf {} +
find "$site" -name '*.so' -exec strip --strip-unneeded {} +
mkdir -p .gpu
tar -C "$site" -cf - . | xz -T0 --x86 --lzma2=preset=6 > .gpu/packages.tar.xz
rm -rf "$wheels" "$site"
du -h .gpu/packages.tar.xz
