#!/usr/bin/env bash
# shellcheck disable=SC2034  # Variables are read by name: ${!flag}.
#
# Runs a pretraining on a GKE cluster that kubectl reaches, by launch/gke.yaml.
# The cluster has JobSet (v0.10 or later) and node pools for the accelerator.
#
#   launch/gke.sh up --tpu --name=NAME --image=IMAGE --max_hours=HOURS \
#       --accelerator=tpu-v5-lite-podslice --topology=4x4 --hosts=4 --chips=4 \
#       --workdir=gs://BUCKET/RUN [--num_slices=1] \
#       [--namespace=default] [--dry_run] \
#       -- --config=FILE [FLAGS of bert-jax pretrain]
#   launch/gke.sh up --gpu --accelerator=nvidia-h100-80gb --hosts=2 --chips=8 \
#       --workdir=/nfs/RUN --nfs=SERVER:/SHARE ...
#   launch/gke.sh tail --name=NAME [--namespace=...]
#   launch/gke.sh down [--name=NAME] [--namespace=...] [--dry_run]
#
# --hosts: pods of a slice, or in all with GPUs. --chips: of one pod. --nfs: what
# all pods see as /nfs, for a workdir that is not in a bucket. The cluster itself restarts the run, as gke.yaml says,
# and ends an attempt after --max_hours; a JobSet that has ended is deleted a
# day later. `down` lists and deletes what `up` made: of that name, or all in
# the namespace.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kind='' name='' image='' workdir='' accelerator='' topology='' hosts=''
chips='' max_hours='' num_slices=1 nfs='' namespace=default dry_run='' flags=()

refuse() {
  echo "gke.sh: $*" >&2
  exit 2
}

# shellcheck source=launch/flags.sh
source "$root/launch/flags.sh"
flag_names=(name image workdir accelerator topology hosts chips max_hours
  num_slices namespace nfs)

read_flags() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --tpu | --gpu) kind=${1#--} ;;
      --dry_run) dry_run=yes ;;
      --) shift; flags=("$@"); return ;;
      *)
        set_flag "$1" \
          || refuse "unknown argument $1; flags of pretrain come after --"
        ;;
    esac
    shift
  done
}

check_flags() {
  if [ -z "$kind" ]; then refuse '--tpu or --gpu is missing'; fi
  require_flags name image workdir accelerator hosts chips max_hours
  if [ "$kind" = tpu ]; then require_flags topology; fi
  # A JobSet's pods are NAME-slice-0-0-abcde, a label of at most 63 characters.
  if [[ ! "$name" =~ ^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$ ]]; then
    refuse "--name=$name: give small letters, digits and -, at most 32"
  fi
  local flag
  for flag in hosts chips num_slices; do
    if [[ ! "${!flag}" =~ ^[1-9][0-9]*$ ]]; then
      refuse "--$flag=${!flag}: give a number from 1"
    fi
  done
  if [[ ! "$max_hours" =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
    refuse "--max_hours=$max_hours: give hours, such as 24 or 0.5"
  fi
  if [[ "$workdir" != /nfs/?* && "$workdir" != gs://?*/?* ]]; then
    refuse "--workdir=$workdir: pods keep nothing; give gs://BUCKET/RUN, or" \
      "/nfs/RUN, which lies in the share of --nfs"
  fi
  if [[ "$workdir" == /nfs/* ]]; then require_flags nfs; fi
  if [[ -n "$nfs" && ! "$nfs" =~ ^[^:/]+:/ ]]; then
    refuse "--nfs=$nfs: give SERVER:/SHARE"
  fi
  if [ ${#flags[@]} = 0 ]; then refuse '-- --config=FILE is missing'; fi
}

# Prints words as a list in JSON, which is YAML too.
json_list() {
  local word list=''
  for word in "$@"; do
    word=${word//\\/\\\\}
    list+=", \"${word//\"/\\\"}\""
  done
  echo "[${list#, }]"
}

# Prints gke.yaml with all ${...} filled in.
render() {
  local text variable arguments max_seconds mounts='' volumes=''
  if [ -n "$nfs" ]; then
    mounts='{name: nfs, mountPath: /nfs}'
    volumes="{name: nfs, nfs: {server: \"${nfs%%:*}\", path: \"${nfs#*:}\"}}"
  fi
  arguments=$(json_list pretrain "${flags[@]}" "--workdir=$workdir" \
    --preempted_exit_code=75)
  max_seconds=$(awk -v hours="$max_hours" 'BEGIN {printf "%d", hours * 3600}')
  text=$(<"$root/launch/gke.yaml")
  for variable in name namespace image accelerator topology hosts chips \
    num_slices max_seconds arguments mounts volumes; do
    text=${text//"\${$variable}"/"${!variable}"}
  done
  echo "$text"
}

run() {
  if [ -n "$dry_run" ]; then
    print_command "$@"
  else
    "$@"
  fi
}

up() {
  check_flags
  local apply=(kubectl apply --filename=-
    "--selector=app=bert-jax,accelerator in (any, $kind)")
  if [ -n "$dry_run" ]; then
    render
    run "${apply[@]}"
  elif render | run "${apply[@]}"; then
    echo "gke.sh: follow it with launch/gke.sh tail --name=$name" >&2
  else
    echo "gke.sh: kubectl apply failed; launch/gke.sh down --name=$name" \
      "deletes what it has made" >&2
    exit 1
  fi
}

follow() {
  require_flags name
  run kubectl logs --namespace="$namespace" --selector="run=$name" \
    --container=bert-jax --prefix --follow --tail=50 --max-log-requests=256
}

down() {
  local which=(--selector=app=bert-jax) kinds=jobset,rolebinding,role
  kinds+=,serviceaccount
  if [ -n "$name" ]; then
    which+=("--field-selector=metadata.name=$name")
  fi
  run kubectl get "$kinds" --namespace="$namespace" "${which[@]}"
  run kubectl delete "$kinds" --namespace="$namespace" "${which[@]}"
}

case "${1:-}" in
  up | tail | down) verb=$1 ;;
  *) refuse "the first argument is up, tail or down; see the file's head" ;;
esac
shift
read_flags "$@"
case "$verb" in
  up) up ;;
  tail) follow ;;
  down) down ;;
esac
