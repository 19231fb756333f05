#!/usr/bin/env bash
# From nothing to answers: environment, a small simulated log, every stage, results. Options go to `gensr run`.
#
#   bash launch/quickstart.sh [--set KEY=VALUE ...]
#
# A second run reuses .venv and skips the stages that are finished.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"

setup_environment
say "gensr run configs/quickstart.yaml $*"
exec gensr run configs/quickstart.yaml "$@"
