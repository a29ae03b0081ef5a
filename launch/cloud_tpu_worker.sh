#!/usr/bin/env bash
# What cloud_tpu.sh runs on each worker of a slice, in the copy of the checkout
# that it has put there. A run outlives the ssh connection that started it.
#
#   install                  makes the environment, with a Python of its own
#   start PORT [FLAGS]       starts `pretrain`; PORT: JAX's, or '' for its own
#   status                   prints `worker HOST running`, or `... ended CODE`
#   stop                     sends SIGTERM, on which the run saves and ends
#   log BYTES                prints the log from there on
#   follow                   prints the end of the log and what comes to it
#   steps WORKDIR            prints the names of a workdir's checkpoints
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state="${BERT_JAX_STATE:-$HOME/bert_jax_state}"
venv="${BERT_JAX_VENV:-$HOME/bert_jax_venv}"
mkdir -p "$state"
touch "$state/log"

install() {
  local setup=("$root/launch/setup_environment.sh" "--venv=$venv"
    '--extra=tpu,gcs')
  # The images of Cloud TPU have Ubuntu 22.04 with Python 3.10, which is too old
  # (https://cloud.google.com/tpu/docs/runtimes); uv brings a newer one.
  if "${setup[@]}"; then return; fi
  python3 -m pip install --user --quiet uv
  python3 -m uv python install 3.13
  "${setup[@]}"
}

is_running() {
  [ ! -f "$state/code" ] && [ -f "$state/pid" ] \
    && kill -0 "$(cat "$state/pid")" 2>/dev/null
}

start() {
  local port=$1
  shift
  if is_running; then
    kill -KILL "$(cat "$state/pid")"
    await_file "$state/code"
  fi
  rm -f "$state/code" "$state/pid"
  # JAX's port 8482 is closed between the slices of a v6e, where jobs hang; 8476
  # is open (https://github.com/jax-ml/jax/issues/35905).
  if [ -n "$port" ]; then export JAX_COORDINATOR_PORT=$port; fi
  setsid nohup "${BASH_SOURCE[0]}" run "$@" >>"$state/log" 2>&1 </dev/null &
  await_file "$state/pid"
}

await_file() {
  local tries=100
  until [ -f "$1" ]; do
    if [ $((tries -= 1)) = 0 ]; then
      echo "cloud_tpu_worker.sh: $1 did not appear" >&2
      exit 1
    fi
    sleep 0.1
  done
}

# The process that waits for the run and writes how it ended.
run() {
  local code=0
  cd "$root"
  "$venv/bin/python" -m bert_jax pretrain "$@" &
  echo $! >"$state/pid"
  wait $! || code=$?
  echo $code >"$state/code.partial"
  mv "$state/code.partial" "$state/code"
}

print_status() {
  if [ -f "$state/code" ]; then
    echo "worker $(hostname) ended $(cat "$state/code")"
  elif is_running; then
    echo "worker $(hostname) running"
  else
    # Nobody wrote an exit status: the worker was restarted, or never began.
    echo "worker $(hostname) ended lost"
  fi
}

# Paths of this machine's own home may be written as ~/PATH.
expand_home() {
  echo "${1/#\~\//$HOME/}"
}

# A checkpoint in a bucket is one once it holds the object that Orbax adds last.
print_steps() {
  case "$1" in
    gs://*)
      gcloud storage ls "$1/checkpoints/*/commit_success.txt" 2>/dev/null \
        | sed -n 's|.*/\([0-9]*\)/commit_success.txt$|\1|p' || true
      ;;
    *) ls "$(expand_home "$1")/checkpoints" 2>/dev/null || true ;;
  esac
}

case "${1:-}" in
  install) install ;;
  start) shift; start "$@" ;;
  run) shift; run "$@" ;;
  status) print_status ;;
  stop) if is_running; then kill -TERM "$(cat "$state/pid")"; fi ;;
  log) tail -c "+$(($2 + 1))" "$state/log" ;;
  follow) tail -n 50 -F "$state/log" ;;
  steps) print_steps "$2" ;;
  *) echo "cloud_tpu_worker.sh: unknown verb '${1:-}'" >&2; exit 2 ;;
esac
