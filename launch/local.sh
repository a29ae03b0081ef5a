#!/usr/bin/env bash
# Makes a pretrained BERT, a fine-tuned classifier and a report from nothing, on
# this machine. The text is the documentation that `pip install` brought along.
#
#   launch/local.sh [FOLDER]      FOLDER: default runs/local in the checkout
#
# Run it again after any stop: complete steps are skipped, the rest continues.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"
python="$venv/bin/python"
mkdir -p "${1:-$root/runs/local}"
run=$(cd "${1:-$root/runs/local}" && pwd)

child=''
stopped=''
step=''

# Each verb runs in its own process group (set -m), so that it gets a signal
# once, from this script, be it from Ctrl-C or sent to the script alone.
stop() {
  stopped=$1
  if [ -n "$child" ]; then kill -s "$1" "$child" 2>/dev/null || true; fi
}
trap 'stop INT' INT
trap 'stop TERM' TERM

bert_jax() {
  step=$1
  printf '\n== bert-jax %s ==\n' "$step"
  local status=0
  set -m
  "$python" -m bert_jax "$@" </dev/null &
  child=$!
  set +m
  # A trapped signal ends `wait` early; the verb may still be saving its state.
  while :; do
    status=0
    wait "$child" || status=$?
    if ! kill -0 "$child" 2>/dev/null; then break; fi
  done
  child=''
  check_step "$status"
}

check_step() {
  if [ -n "$stopped" ]; then
    echo
    echo "local.sh: stopped in the step '$step'; run it again to continue." >&2
    if [ "$stopped" = INT ]; then exit 130; else exit 143; fi
  elif [ "$1" != 0 ]; then
    echo "local.sh: the step '$step' ended with status $1; mend what it says" \
      "above and run this again." >&2
    exit "$1"
  fi
}

"$root/launch/setup_environment.sh" --venv="$venv" --extra=test
step=start
check_step 0

# The cache lets restarts skip compilation.
export JAX_COMPILATION_CACHE_DIR="$venv/jax_cache"
# Large arrays get large pages: without them, page faults take a fifth of a
# CPU's step.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
cd "$root"
seconds_at_start=$SECONDS
finetune=experiments/finetune/which_package.py

bert_jax train_tokenizer --input=installed_docs: --vocab_size=4096 \
  --output="$run/tokenizer"
bert_jax prepare --input=installed_docs: --tokenizer="$run/tokenizer" \
  --row_length=64 --eval_fraction=0.01 --output="$run/corpus"
bert_jax pretrain --config=experiments/pretrain/bert_tiny_local.py \
  --workdir="$run/pretrain" --config.data.path="$run/corpus"
bert_jax finetune --config=$finetune --workdir="$run/finetune_pretrained" \
  --config.init_from="$run/pretrain" --config.num_seeds=3
bert_jax finetune --config=$finetune --workdir="$run/finetune_scratch" \
  --config.tokenizer="$run/tokenizer" --config.num_seeds=3
bert_jax report --workdir="$run/pretrain" \
  --finetuned="$run/finetune_pretrained,$run/finetune_scratch"

minutes=$(((SECONDS - seconds_at_start + 30) / 60))
cat <<SUMMARY

== Done in $minutes minutes ==
The model:  $run/pretrain
The report: $run/pretrain/report.html

Try next, in $root:
  .venv/bin/python -m bert_jax fill_mask --workdir=$(printf %q "$run/pretrain") \\
    "The [MASK] of an array"
  .venv/bin/python -m bert_jax --help
  your own text: the same steps with --input=FOLDER, or --input='*.jsonl'
SUMMARY
