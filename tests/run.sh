#!/usr/bin/env bash
# The whole ordinary suite: set-up, ruff, types, pytest. Works from any folder.
#
#   tests/run.sh [PYTEST ARGUMENTS]     paths are relative to the checkout
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"
# By `python -m`: the scripts in bin/ do not start from a path with spaces.
python="$venv/bin/python"

"$root/launch/setup_environment.sh" --venv="$venv" --extra=test

# Most of the suite's time is compilation, which a second run need not repeat.
export JAX_COMPILATION_CACHE_DIR="$venv/jax_cache"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.5

cd "$root"
"$python" -m ruff check .
"$python" -m ruff format --check .
"$python" -m pyrefly check --output-format min-text
# In the order of collection: conftest.py puts the longest test first.
exec "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
