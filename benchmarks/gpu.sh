#!/bin/bash
# What a GPU shows, from a clean checkout on a machine with torch, a card and no network:
#
#   bash benchmarks/gpu.sh                 all phases, in this order: packages isolation plain hostile flow reference compare
#   bash benchmarks/gpu.sh isolation plain these alone
#   DEVICE=cpu bash benchmarks/gpu.sh      the same without a GPU, in the sandbox for one
#
# packages   what the machine lacks, from $PACKAGES (benchmarks/gpu_packages.sh makes it where there is a network)
# isolation  a seed program through the judge at each level of isolation; where one fails, which part is in the way
# plain      the same as a user without privileges (when started as root)
# hostile    tests/gpu, and the hostile programs of tests/hostile in the sandbox for a GPU
# flow       two cycles of the test configuration on the device;  reference: the same on the processor
# compare    a table of seconds by stage, and whether both agree within the tolerance that it states
#
# Each phase has its own limit in seconds, prints as it goes and keeps its log in $OUT; one that has passed is not repeated,
# and a flow that was cut goes on where it was, as long as $WORK is kept.
set -u
cd "$(dirname "$0")/.." || exit 2
export DEVICE=${DEVICE:-cuda} PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
PYTHON=${PYTHON:-python3} CORES=${CORES:-$(nproc)} WORK=${WORK:-${TMPDIR:-/tmp}/archloop-gpu-$DEVICE}
OUT=${OUT:-$WORK/out} PACKAGES=${PACKAGES:-$PWD/.gpu/packages.tar.xz} ROOT=$PWD FORM=
[ "$DEVICE" = cpu ] && FORM=--as-gpu
declare -A LIMIT=([packages]=120 [isolation]=300 [plain]=300 [hostile]=500 [flow]=500 [reference]=900 [compare]=60)
mkdir -p "$WORK/passed" "$OUT" || exit 2
[ -d "$WORK/site-packages" ] && export PYTHONPATH=$WORK/site-packages

packages() {
  if ! "$PYTHON" -c "import polars, snakemake, pytest" 2> /dev/null; then
    mkdir -p "$WORK/site-packages" && tar -xJf "$PACKAGES" -C "$WORK/site-packages"
    chmod 755 "$WORK/site-packages" # the packed folder was one user's own; a plain user reads it, too
    PYTHONPATH=$WORK/site-packages "$PYTHON" -c "import polars, snakemake, pytest" || return
  fi
  # In an image without compiled modules every process would compile torch again.
  local folders
  folders=$("$PYTHON" - << 'END'
from importlib.util import find_spec

for name in ("torch", "torchvision", "transformers", "peft", "accelerate", "huggingface_hub", "numpy", "scipy", "sympy"):
    if spec := find_spec(name):
        print(spec.submodule_search_locations[0])
END
  )
  # A module that does not compile, and a folder that cannot be written, are as they were.
  # shellcheck disable=SC2086
  "$PYTHON" -m compileall -qq -j 0 $folders || true
}
isolation() { "$PYTHON" scripts/try_isolation.py --device "$DEVICE" $FORM --output "$OUT/isolation.json"; }
plain() {
  [ "$(id -u)" = 0 ] || { echo "not root: the levels above are those of a plain user"; return; }
  PYTHONPATH=tests/helpers${PYTHONPATH:+:$PYTHONPATH} "$PYTHON" -m pytest -q -rs tests/gpu -k plain_user
}
hostile() {
  "$PYTHON" -m pytest -q -rs tests/gpu -k "not plain_user" && "$PYTHON" -m pytest -q -rs tests/hostile/test_gpu_form.py
}
run_cycles() {
  mkdir -p "$WORK/flow-$1"
  echo "execution: {device: $1, isolation: ${ISOLATION:-auto}}" > "$WORK/flow-$1/device.yaml"
  PATH=$(dirname "$(command -v "$PYTHON")"):$PATH "$PYTHON" -m snakemake --snakefile "$ROOT/Snakefile" \
    --directory "$WORK/flow-$1" --profile "$ROOT/profiles/local" --cores "$CORES" \
    --configfile "$ROOT/tests/test.yaml" "$ROOT/benchmarks/gpu.yaml" "$WORK/flow-$1/device.yaml" \
    -- results/main/cycle-{1,2}/summary.json results/main/architectures/index.json
}
flow() { run_cycles "$DEVICE"; }
reference() { run_cycles cpu; }
compare() { "$PYTHON" benchmarks/gpu_compare.py "$WORK/flow-$DEVICE" "$WORK/flow-cpu"; }

export -f packages isolation plain hostile run_cycles flow reference compare
export PYTHON CORES WORK OUT PACKAGES ROOT FORM
status=0
[ $# -gt 0 ] || set -- packages isolation plain hostile flow reference compare
for phase in "$@"; do
  [ -n "${LIMIT[${phase:-none}]:-}" ] || { echo "no phase $phase; there are: ${!LIMIT[*]}"; exit 2; }
done
for phase in "$@"; do
  [ -e "$WORK/passed/$phase" ] && { echo "== $phase: passed before"; continue; }
  [ -d "$WORK/site-packages" ] && export PYTHONPATH=$WORK/site-packages
  began=$SECONDS
  timeout -k 10 "${LIMIT[$phase]}" bash -c "set -o pipefail; $phase 2>&1 | tee \"\$OUT/$phase.log\"" &
  running=$!
  # What is left of a phase that is cut, or of one whose script is ended, would hold its folder against the next start.
  trap 'kill -KILL -- -$running; exit 143' INT TERM HUP
  wait $running
  code=$?
  kill -KILL -- -$running 2> /dev/null
  case $code in
    0) touch "$WORK/passed/$phase"; says=passed ;;
    124 | 137) says="cut at its limit of ${LIMIT[$phase]} s; start it again to go on" ;;
    *) says="failed (status $code)" ;;
  esac
  echo "== $phase on $DEVICE: $says, $((SECONDS - began)) s"
  [ $code = 0 ] || status=1
done
exit $status
