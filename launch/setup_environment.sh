#!/usr/bin/env bash
# Makes a virtual environment with this package installed, unless it is there.
#
#   launch/setup_environment.sh --venv=DIR [--extra=test] [--python=3.11]
#
# Takes the newest supported Python it finds (or the one asked for), installs
# bert_jax in editable mode with the extra, and writes a stamp last: an
# environment without its stamp was cut short and is continued. With a valid
# stamp there is nothing to do. An error gives one line and status 1.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
supported_minors='13 12 11'
needed_kib=$((4 * 1024 * 1024))

venv="$root/.venv"
extra=''
for argument in "$@"; do
  case "$argument" in
    --venv=*) venv=${argument#*=} ;;
    --extra=*) extra=${argument#*=} ;;
    --python=3.*) supported_minors=${argument#*=3.} ;;
    *) echo "setup_environment.sh: unknown argument $argument" >&2; exit 2 ;;
  esac
done
python="$venv/bin/python"
stamp="$venv/bert_jax.stamp"
log="$venv/pip.log"

fail() {
  echo "set-up: $*" >&2
  exit 1
}

say() {
  echo "set-up: $*" >&2
}

# Prints a hash of the environment's origins: the requirements, the folder (an
# editable install knows its folder) and the Python.
fingerprint() {
  "$python" - "$root" "$extra" <<'PYTHON'
import hashlib
import pathlib
import sys

root, extra = sys.argv[1:]
parts = [root, extra, sys.version, sys.prefix]
parts += [pathlib.Path(root, n).read_text() for n in ('setup.py', 'pyproject.toml')]
print(hashlib.sha256('\0'.join(parts).encode()).hexdigest())
PYTHON
}

is_complete() {
  [ -f "$stamp" ] && [ -x "$python" ] \
    && [ "$(fingerprint 2>/dev/null)" = "$(cat "$stamp")" ]
}

# Returns 0 if the interpreter $1 is Python 3.$2 and can make environments, 3 if
# it cannot make them (Debian splits venv off), and another status if it does
# not run or is another version. A pyenv shim exists for each version that pyenv
# has, and fails unless chosen.
try_python() {
  "$1" - "$2" >/dev/null 2>&1 <<'PYTHON'
import sys

if sys.version_info[:2] != (3, int(sys.argv[1])):
  sys.exit(4)
try:
  import ensurepip
  import venv
except ImportError:
  sys.exit(3)
PYTHON
}

# Prints candidates for Python 3.$1, one a line, best first.
list_candidates() {
  local minor=$1 name home=${HOME:-/nonexistent}
  for name in "python3.$minor" python3 python; do
    type -aP "$name" || true
  done
  local pattern
  for pattern in \
    "${PYENV_ROOT:-$home/.pyenv}/versions/3.$minor."*/bin/python \
    "${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$home/.local/share}/uv/python}/cpython-3.$minor."*/bin/python3 \
    "${CONDA_PREFIX:-$home/miniconda3}/bin/python" \
    "$home"/{miniconda3,miniforge3,anaconda3}/bin/python \
    "$home"/{miniconda3,miniforge3,anaconda3}/envs/*/bin/python; do
    if [ -x "$pattern" ]; then echo "$pattern"; fi
  done
}

# Sets base_python; prints one line and exits with status 1 if there is none.
find_python() {
  local minor candidate status without_venv=''
  for minor in $supported_minors; do
    while IFS= read -r candidate; do
      status=0
      try_python "$candidate" "$minor" || status=$?
      if [ $status = 0 ]; then
        base_python=$candidate
        return
      elif [ $status = 3 ] && [ -z "$without_venv" ]; then
        without_venv="Python 3.$minor ($candidate) has no venv module; on \
Debian and Ubuntu: apt-get install python3.$minor-venv"
      fi
    done < <(list_candidates "$minor")
  done
  if [ -n "$without_venv" ]; then fail "$without_venv"; fi
  fail "no supported Python found: bert_jax needs Python" \
    "$(echo "$supported_minors" | sed 's/\([0-9][0-9]*\)/3.\1/g; s/ / or /g')" \
    "(on PATH, or from pyenv, uv or conda)"
}

check_disk() {
  local folder free_kib used_kib=0
  folder=$(dirname "$venv")
  free_kib=$(df -Pk "$folder" | awk 'NR == 2 {print $4}')
  if [ -d "$venv" ]; then used_kib=$(du -sk "$venv" | awk '{print $1}'); fi
  if [ $((free_kib + used_kib)) -lt $needed_kib ]; then
    fail "not enough disk space in $folder: $((free_kib / 1024)) MiB free," \
      "about $((needed_kib / 1024)) MiB needed"
  fi
}

make_venv() {
  if [ -x "$python" ] && "$python" -m pip --version >/dev/null 2>&1 \
    && runs_supported_python; then
    say "continuing with $venv"
    return
  fi
  if [ -e "$venv" ]; then
    if [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
      fail "$venv exists and is no Python environment; move it away"
    fi
    rm -rf "$venv"
  fi
  find_python
  say "making $venv with $("$base_python" --version) ($base_python)"
  mkdir -p "$venv"
  "$base_python" -m venv "$venv" >"$log" 2>&1 \
    || fail "python -m venv failed: $(tail -n 1 "$log") (log: $log)"
}

runs_supported_python() {
  local minor
  for minor in $supported_minors; do
    if try_python "$python" "$minor"; then return 0; fi
  done
  return 1
}

# On a terminal, pip's last line stands in for a progress bar.
show_progress() {
  local line
  if [ ! -t 2 ]; then cat >/dev/null; return; fi
  while IFS= read -r line; do
    printf '\r\033[K  %.74s' "$line" >&2
  done
  printf '\r\033[K' >&2
}

install() {
  say "installing bert_jax${extra:+ and its extra \"$extra\"}: some hundred MB to" \
    "download, a few minutes (log: $log)"
  local status=0
  # pip runs in the folder: it misreads a path with spaces and [extra].
  (cd "$root" && "$python" -m pip install --disable-pip-version-check \
    --no-input --progress-bar off --retries 3 -e ".${extra:+[$extra]}" 2>&1) \
    | tee "$log" | show_progress || status=$?
  if [ $status != 0 ]; then explain_failure; fi
}

explain_failure() {
  if grep -qiE 'No space left|Errno 28|Disk quota' "$log"; then
    fail "the disk is full; free some space and run again (pip's log: $log)"
  fi
  if grep -qiE 'name resolution|NewConnectionError|Connection(Error| refused| broken| reset)|ConnectTimeout|ReadTimeout|timed out|ProxyError|SSLError|Network is unreachable' "$log"; then
    fail "no network, or no package index behind it: pip could not download" \
      "the requirements; run again when it is there (pip's log: $log)"
  fi
  fail "pip failed: $(grep -iE '^ *error' "$log" | tail -n 1) (pip's log: $log)"
}

trap 'echo >&2; say "stopped; run again to continue"; exit 130' INT
trap 'say "stopped; run again to continue"; exit 143' TERM

if is_complete; then exit 0; fi
check_disk
rm -f "$stamp"
make_venv
install
fingerprint >"$stamp.partial"
mv "$stamp.partial" "$stamp"
say "$venv is ready ($("$python" --version))"
