#!/usr/bin/env bash
# Everything that a GPU can tell of this package, in at most eight minutes on one H200: tests, kernels, training steps,
# scoring, LightGCN, a profile. Each part writes files of its own in OUT as soon as it is done, so that a run that is cut
# off still tells something; OUT/summary.txt says how each ended.
#
#   bash launch/gpu_check.sh [OUT]        OUT is gpu_check by default
#
# Uses .venv where there is one, else `python3`; installs nothing. deepspeed, webdataset and faiss may be missing: the
# tests that need them are left out and say so. Without a GPU it does the same with tiny sizes, to test itself.
# LIMIT (480) is how many seconds all parts may take together. Exit code 1: a part failed or time ran out.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
out=${1:-gpu_check}
mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
[ -x .venv/bin/python ] && PATH=$PWD/.venv/bin:$PATH
python=$(command -v python || command -v python3) || {
    printf 'error: no python found; activate an environment with torch\n' >&2
    exit 2
}
export PYTHONPATH=$PWD HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

has() { "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"; }
has torch || {
    printf 'error: %s has no torch; activate an environment that has\n' "$python" >&2
    exit 2
}
began=$SECONDS
failed=0
: >"$out/summary.txt"

part() { # NAME SECONDS COMMAND...: run it for at most so long and within LIMIT, keep what it prints
    local name=$1 most=$2 left code since=$SECONDS
    shift 2
    left=$((${LIMIT:-480} - (SECONDS - began)))
    [ "$most" -le "$left" ] || most=$left
    if [ "$most" -le 0 ]; then
        code=124
        : >"$out/$name.err"
    else
        timeout --kill-after=5 "$most" "$@" >"$out/$name.txt" 2>"$out/$name.err"
        code=$?
    fi
    case $code in
        0) result=done ;;
        124 | 137) result="out of time" ;;
        *) result="failed with exit code $code" ;;
    esac
    [ "$code" -eq 0 ] || failed=1
    printf '%-18s %4d s  %s\n' "$name" $((SECONDS - since)) "$result" | tee -a "$out/summary.txt"
    if [ "$code" -ne 0 ]; then tail -n 3 "$out/$name.err" | sed 's/^/    /'; fi
}

gensr() { "$python" -m gensr_dist "$@"; }
export -f gensr
export python

environment() {
    date -u +%Y-%m-%d
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo "no GPU"
    "$python" - <<'PYTHON'
import importlib.metadata as metadata
import sys

print("python", sys.version.split()[0])
for name in ("torch", "triton", "transformers", "torch-geometric", "deepspeed", "webdataset", "faiss-cpu", "numpy"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name, "missing")
PYTHON
}
export -f environment

# A profile has its own file; FILE... of tests that need what is missing are not even collected.
tests=(tests/kernels tests/graph/test_trainer.py tests/train/test_meter.py)
if has deepspeed; then tests+=(tests/train/test_no_waiting.py); else echo "tests/train/test_no_waiting.py needs deepspeed" >>"$out/summary.txt"; fi

if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    model=(--backbone flan-t5-base --precision bf16 --rounds 3)
    kernels=(--rounds 21)
    graph=(--nodes 1000000 --edges 10000000 --rounds 2 --ours)
else
    model=(--backbone nano --groups 2 --rounds 1)
    kernels=(--rounds 2)
    graph=(--nodes 300 --edges 2000 --rounds 1 --ours)
fi

part environment 30 bash -c environment
part tests 150 "$python" -m pytest -m gpu -p no:cacheprovider -q "${tests[@]}"
part kernels 90 bash -c 'gensr bench kernels --csv "$0" --json "$@"' "$out/kernels.csv" "${kernels[@]}"
part step 90 bash -c 'gensr bench step --json "$@"' step "${model[@]}"
part score 90 bash -c 'gensr bench score --json "$@"' score "${model[@]}"
part lightgcn 60 bash -c 'gensr bench lightgcn --json "$@"' lightgcn "${graph[@]}"
part profile 60 bash -c 'gensr bench step --json --profile "$0" "$@"' "$out/profile" "${model[@]}"
part step_compiled 120 bash -c 'gensr bench step --compile --json "$@"' step "${model[@]}"
part score_compiled 120 bash -c 'gensr bench score --compile --json "$@"' score "${model[@]}"
exit "$failed"
