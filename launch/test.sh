#!/usr/bin/env bash
# Linters, type checks and tests, in an environment that it makes itself. Options go to pytest.
#
#   bash launch/test.sh [PYTEST_OPTION ...]
#
# The TensorBoard test needs chromium: as root with apt-get it is installed, else that test is skipped and says so.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"

setup_environment test

if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing chromium for the TensorBoard test"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
        >/dev/null || say "chromium cannot be installed; its test will be skipped"
fi

export OMP_NUM_THREADS=1 # two test processes on two cores
export HF_HUB_OFFLINE=1  # no test asks the Hub

failed=()
check() {
    say "$*"
    "$@" || failed+=("$1 ${2:-}")
}
check ruff check .
check ruff format --check .
check mypy
check pytest -n 2 --dist loadfile "$@"

if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
say "all checks passed"
