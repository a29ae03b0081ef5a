#!/usr/bin/env bash
# Runs a pretraining on Cloud TPU to its end, through pre-emptions, and deletes
# the slice that it made. Runs wherever gcloud is set up, and has to stay up
# itself: in tmux, or on a small VM.
#
#   launch/cloud_tpu.sh up --name=NAME --project=PROJECT --zone=ZONE \
#       --accelerator_type=TYPE --runtime_version=VERSION --max_hours=HOURS \
#       --workdir=WORKDIR [--spot | --reserved] [--num_slices=1] \
#       [--data=FOLDER | --data=gs://BUCKET/CORPUS] [--setup="COMMAND"] \
#       [--max_wait_hours=HOURS] [--create_flags="..."] [--ssh_flags="..."] \
#       [--dry_run] -- --config=FILE [FLAGS of bert-jax pretrain]
#   launch/cloud_tpu.sh tail --name=NAME --project=PROJECT --zone=ZONE
#   launch/cloud_tpu.sh down [--name=NAME] --project=PROJECT --zone=ZONE
#
# WORKDIR is the same place for all workers and outlives them: gs://BUCKET/RUN, or
# a path of NFS, which COMMAND mounts on each worker. A --data=FOLDER of this
# machine is copied to each worker.
#
# `up` again finds the slice that an `up` which was killed has left, and goes on
# with it. `down` deletes the slice of that name, or every slice of these names
# in the zone. --dry_run prints each command that would run, and runs none.
#
# Ends with 0: complete. 2: bad input. 75: --max_hours are over, and the same
# command goes on. 1: anything else. In each case the slice is deleted; where
# that fails, the last line says how to do it by hand.
#
# Slices go by the name bert-jax-NAME. Sources of the commands:
# https://cloud.google.com/tpu/docs/queued-resources and gcloud 528.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
prefix=bert-jax-
name='' project='' zone='' accelerator_type='' runtime_version='' workdir=''
data='' setup='' max_hours='' max_wait_hours='' num_slices=1 tier='' dry_run=''
pretended_state=ABSENT
create_flags=() ssh_flags=() flags=()
# Intervals, which tests shorten. A run that was asked to stop, or whose first
# process has ended, has --end_seconds for the rest.
poll_seconds=60 end_seconds=600 tries=5

say() {
  if [ -z "$dry_run" ]; then echo "cloud_tpu.sh: $*" >&2; fi
}

give_up() {
  echo "cloud_tpu.sh: $*" >&2
  exit "${status_at_giving_up:-1}"
}

refuse() {
  status_at_giving_up=2
  give_up "$@"
}

# shellcheck source=launch/flags.sh
source "$root/launch/flags.sh"
flag_names=(name project zone accelerator_type data runtime_version workdir
  max_hours num_slices setup max_wait_hours poll_seconds end_seconds)

read_flags() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --spot | --reserved) tier=$1 ;;
      --create_flags=*) read -ra create_flags <<<"${1#*=}" ;;
      --ssh_flags=*) read -ra ssh_flags <<<"${1#*=}" ;;
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

check_name() {
  if [[ -n "$name" && ! "$name" =~ ^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$ ]]; then
    refuse "--name=$name: give small letters, digits and -, at most 42"
  fi
}

# Prints the seconds of a number of hours, such as 0.5.
seconds_of() {
  if [[ ! "$2" =~ ^[0-9]+(\.[0-9]+)?$ ]]; then
    refuse "--$1=$2: give hours, such as 24 or 0.5"
  fi
  awk -v hours="$2" 'BEGIN { printf "%d", hours * 3600 }'
}

# Runs a command, or only prints it, wherever its output goes otherwise.
exec 3>&1
run() {
  if [ -n "$dry_run" ]; then
    print_command "$@" >&3
  else
    "$@" 3>&-
  fi
}

queued_resource() {
  run gcloud compute tpus queued-resources "$@" \
    "--project=$project" "--zone=$zone" --quiet
}

tpu_vm() {
  run gcloud compute tpus tpu-vm "$@" "--project=$project" "--zone=$zone" \
    --quiet ${ssh_flags[@]+"${ssh_flags[@]}"} </dev/null
}

# Prints the state of a queued resource, and after a tab why it failed. It is
# ABSENT only if Google says so: an error of the network tells nothing.
state_of() {
  local status=0
  queued_resource describe "$1" \
    '--format=value(state.state,state.failedData.error.message)' \
    >"$scratch/state" 2>"$scratch/state_error" || status=$?
  if [ -n "$dry_run" ]; then
    echo "$pretended_state"
  elif [ $status = 0 ]; then
    cat "$scratch/state"
  elif grep -qiE 'NOT_FOUND|not found' "$scratch/state_error"; then
    echo ABSENT
  else
    echo UNKNOWN
  fi
}

# Waits for some seconds, or until a signal comes.
pause() {
  if [ -n "$dry_run" ] || [ "$1" = 0 ]; then return; fi
  sleep "$1" &
  wait $! || kill $! 2>/dev/null || true
}

# A queued resource that is being provisioned refuses to be deleted, and one
# that is suspended or failed goes on counting against the quota until it is
# (https://github.com/marin-community/marin/issues/87): hence tries, and a look.
delete_slice() {
  local try state=''
  for ((try = 1; try <= tries; try++)); do
    queued_resource delete "$1" --force >&2 || true
    pretended_state=ABSENT
    state=$(state_of "$1")
    if [ "${state%%$'\t'*}" = ABSENT ]; then
      say "$1 is deleted"
      return 0 # Alone, it would be the status from before the EXIT trap.
    fi
    pause "$poll_seconds"
  done
  say "$1 IS STILL THERE AND MAY COST MONEY (state: $state); delete it:" \
    "gcloud compute tpus queued-resources delete $1 --force" \
    "--project=$project --zone=$zone"
  return 1
}

down() {
  require_flags project zone
  local slices slice status=0
  if [ -n "$name" ]; then
    slices=$prefix$name
  else
    slices=$(queued_resource list '--format=value(name.basename())' \
      | grep "^$prefix" || true)
    if [ -n "$dry_run" ]; then slices="${prefix}EACH_ONE_LISTED"; fi
  fi
  if [ -z "$slices" ]; then say "there is no $prefix* in $zone"; fi
  for slice in $slices; do
    say "deleting $slice"
    delete_slice "$slice" || status=1
  done
  exit $status
}

follow() {
  require_flags name project zone
  set_nodes
  tpu_vm ssh "${nodes[0]}" --worker=0 --command="$worker follow"
}

set_nodes() {
  slice=$prefix$name
  if [ "$num_slices" = 1 ]; then
    nodes=("$slice")
  else
    local index
    nodes=()
    for ((index = 0; index < num_slices; index++)); do
      nodes+=("$slice-$index")
    done
  fi
}

worker=bert_jax/launch/cloud_tpu_worker.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case "${1:-}" in
  up | tail | down) verb=$1 ;;
  *) refuse "the first argument is up, tail or down; see the file's head" ;;
esac
shift
read_flags "$@"
check_name
case "$verb" in
  tail) follow ;;
  down) down ;;
  up)
    # shellcheck source=launch/cloud_tpu_up.sh
    source "$root/launch/cloud_tpu_up.sh"
    ;;
esac
