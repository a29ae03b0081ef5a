# shellcheck shell=bash
# shellcheck disable=SC2154  # The flags are variables of cloud_tpu.sh.
# The supervisor, `cloud_tpu.sh up`: sourced by cloud_tpu.sh, never run alone.

require_flags name project zone accelerator_type runtime_version workdir \
  max_hours
if [[ ! "$num_slices" =~ ^[1-9][0-9]*$ ]]; then
  refuse "--num_slices=$num_slices: give a number from 1"
fi
if [[ "$workdir" != /?* && "$workdir" != gs://?*/?* ]]; then
  refuse "--workdir=$workdir: a slice that is pre-empted takes its disks with" \
    "it; give gs://BUCKET/RUN, or the path of a network disk that --setup mounts"
fi
if [[ -n "$data" && "$data" != gs://* && ! -d "$data" ]]; then
  refuse "--data=$data is no folder here and no gs://BUCKET/CORPUS"
fi
if [ ${#flags[@]} = 0 ]; then refuse "-- --config=FILE is missing"; fi
for program in gcloud tar; do
  if [ -z "$dry_run" ] && ! command -v "$program" >/dev/null; then
    refuse "$program is not on PATH"
  fi
done

max_seconds=$(seconds_of max_hours "$max_hours")
max_wait_seconds=$(seconds_of max_wait_hours "${max_wait_hours:-$max_hours}")
set_nodes
made='' stopped='' prepared='' ended='' newest=-1 restarts=0 log_bytes=0

# Deletes the slice, whatever happened before.
finish() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP
  if [ -n "$made" ]; then delete_slice "$slice" || status=1; fi
  rm -rf "$scratch"
  exit $status
}

# Runs a command on all workers of all slices; prints what they print. One
# `tpu-vm ssh` a slice: `queued-resources ssh --node=all` passes over slices
# that it does not reach, and succeeds (gcloud 528, surface/.../ssh.py).
on_workers() {
  local node process processes=() status=0
  for node in "${nodes[@]}"; do
    tpu_vm ssh "$node" --worker=all --command="$1" \
      >"$scratch/$node.out" 2>"$scratch/$node.err" &
    processes+=($!)
  done
  for process in "${processes[@]}"; do wait "$process" || status=$?; done
  for node in "${nodes[@]}"; do
    cat "$scratch/$node.out"
    if [ $status != 0 ]; then tail -n 3 "$scratch/$node.err" >&2; fi
  done
  return $status
}

on_first_worker() {
  tpu_vm ssh "${nodes[0]}" --worker=0 --command="$1"
}

# Ends the run where its time is over, or a signal came: it saves first.
check_stop() {
  local code=75 why="--max_hours=$max_hours are over"
  case "$stopped" in
    INT) code=130 why='stopped' ;;
    TERM | HUP) code=143 why='stopped' ;;
    *)
      if [ $SECONDS -lt "$max_seconds" ] || [ -n "$dry_run" ]; then return; fi
      ;;
  esac
  stopped=''
  if [ -n "$1" ]; then
    say "$why; the run saves a checkpoint and ends"
    local end_by=$((SECONDS + end_seconds))
    on_workers "$worker stop" >/dev/null || true
    while [ $SECONDS -lt $end_by ] \
      && on_workers "$worker status" 2>/dev/null | grep -q ' running$'; do
      pause "$poll_seconds"
    done
  fi
  say "$why; the same command goes on"
  exit $code
}

create() {
  local shape=("--node-id=$slice")
  if [ "$num_slices" != 1 ]; then
    shape=("--node-count=$num_slices" "--node-prefix=$slice")
  fi
  prepared='' log_bytes=0
  say "asking for $slice ($num_slices x $accelerator_type in $zone)"
  made=yes
  if ! queued_resource create "$slice" "${shape[@]}" \
    "--accelerator-type=$accelerator_type" \
    "--runtime-version=$runtime_version" ${tier:+"$tier"} \
    ${create_flags[@]+"${create_flags[@]}"} --async 2>"$scratch/create_error"
  then
    # A resource that was asked for a moment ago may not be seen yet.
    if ! grep -qiE 'ALREADY_EXISTS|already exists' "$scratch/create_error"; then
      explain_refusal "$(grep -v '^ *$' "$scratch/create_error" | tail -n 1)"
    fi
  fi
  # shellcheck disable=SC2034  # What state_of says in a dry run.
  pretended_state=ACTIVE
}

discard() {
  delete_slice "$slice" || exit 1
  made=''
}

explain_refusal() {
  if grep -qiE 'quota' <<<"$1"; then
    give_up "your quota does not allow it: $1 (suspended and failed queued" \
      "resources count too: gcloud compute tpus queued-resources list)"
  fi
  give_up "Google refuses it: $1"
}

# Returns when the slice is there; asks for it anew after a failure.
await_slice() {
  local line state before='' give_up_at=$((SECONDS + max_wait_seconds))
  while :; do
    check_stop ''
    line=$(state_of "$slice")
    state=${line%%$'\t'*}
    if [ "$state" != "$before" ]; then say "$slice: ${line//$'\t'/: }"; fi
    before=$state
    case "$state" in
      ACTIVE) return ;;
      ABSENT)
        create
        pause "$poll_seconds"
        continue
        ;;
      FAILED | SUSPENDED)
        if grep -qi quota <<<"$line"; then explain_refusal "$line"; fi
        discard
        ;;
    esac
    if [ $SECONDS -ge $give_up_at ] && [ -z "$dry_run" ]; then
      give_up "no slice within ${max_wait_hours:-$max_hours} hours (state:" \
        "$state); try another zone or another type"
    fi
    pause "$poll_seconds"
  done
}

pack() {
  if [ -n "$dry_run" ]; then
    run tar -czf "$scratch/bert_jax.tar.gz" -C "$root" .
  elif git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    # With changes and new files, without what git ignores.
    (cd "$root" && git ls-files -co --exclude-standard -z \
      | while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then printf '%s\0' "$file"; fi
      done | tar -czf "$scratch/bert_jax.tar.gz" --null -T -)
  else
    tar -czf "$scratch/bert_jax.tar.gz" -C "$root" --exclude=./.venv* \
      --exclude=./runs .
  fi
}

to_workers() {
  local node
  for node in "${nodes[@]}"; do
    tpu_vm scp --recurse "$1" "$node:$2" --worker=all >&2 || return 1
  done
}

# Brings code and data, and installs; scp would put a second copy of a folder
# into an earlier one.
prepare() {
  to_workers "$scratch/bert_jax.tar.gz" bert_jax.tar.gz \
    && on_workers "rm -rf bert_jax bert_jax_data && mkdir bert_jax && tar -xzf \
bert_jax.tar.gz -C bert_jax" \
    && { [ -z "$setup" ] || on_workers "$setup" >&2; } \
    && on_workers "$worker install" >&2 \
    && { [[ -z "$data" || "$data" == gs://* ]] \
      || to_workers "$data" bert_jax_data; } \
    && prepared=yes
}

# Sets newest; returns 1 if there is no newer checkpoint than before.
find_newest() {
  local step before=$newest
  while IFS= read -r step; do
    if [[ "$step" =~ ^[0-9]+$ ]] && [ "$step" -gt "$newest" ]; then
      newest=$step
    fi
  done < <(on_first_worker "$worker steps $(printf %q "$workdir")" || true)
  [ "$newest" -gt "$before" ]
}

start() {
  local port='' command
  if [ "$num_slices" != 1 ]; then port=8476; fi
  local all=("${flags[@]}" "--workdir=$workdir" --preempted_exit_code=75)
  case "$data" in
    '') ;;
    gs://*) all+=("--config.data.path=$data") ;;
    *) all+=(--config.data.path=../bert_jax_data) ;;
  esac
  printf -v command ' %q' "$port" "${all[@]}"
  on_workers "$worker start$command" >&2
}

# Installs unless that is done, and starts. Workers may refuse ssh for minutes.
begin() {
  local try
  for ((try = 1; try <= tries; try++)); do
    check_stop ''
    say "$([ -n "$prepared" ] || echo 'installing, and ')starting the run on" \
      "all workers (try $try of $tries)"
    if { [ -n "$prepared" ] || prepare; } && start; then return; fi
    pause "$poll_seconds"
  done
  return 1
}

show_log() {
  if on_first_worker "$worker log $log_bytes" >"$scratch/log" 2>/dev/null
  then
    cat "$scratch/log"
    log_bytes=$((log_bytes + $(wc -c <"$scratch/log")))
  fi
}

# Waits for the end of the run. Sets ended: complete, bad, stopped (with a
# checkpoint), crashed, or lost, where the slice is gone.
watch_run() {
  local state report unreached=0 ends_by=''
  ended=''
  while [ -z "$ended" ]; do
    pause "$poll_seconds"
    check_stop running
    state=$(state_of "$slice")
    case "${state%%$'\t'*}" in
      ACTIVE) ;;
      UNKNOWN) continue ;; # It is we who are out of reach.
      *) ended=lost; return ;;
    esac
    if report=$(on_workers "$worker status"); then
      unreached=0
      show_log
      if find_newest; then
        restarts=0
        say "checkpoint $newest"
      fi
      judge "$report"
    # A node that is pre-empted refuses ssh before its resource is suspended.
    elif [ $((unreached += 1)) -ge 3 ]; then
      ended=lost
    fi
  done
}

# Judges the lines of all workers' status; uses watch_run's ends_by.
judge() {
  local codes
  if [ -n "$dry_run" ]; then ended=complete; return; fi
  codes=$(sed -n 's/^worker .* ended //p' <<<"$1" | sort -u | xargs)
  if [[ " $codes " == *' 2 '* ]]; then
    ended=bad
  elif grep -q '^worker .* running$' <<<"$1"; then
    # The others end by themselves when one has, unless they hang.
    if [ -z "$codes" ]; then return; fi
    ends_by=${ends_by:-$((SECONDS + end_seconds))}
    if [ $SECONDS -ge "$ends_by" ]; then
      ended="crashed ($codes, rest hangs)"
    fi
  elif [ "$codes" = 0 ]; then
    ended=complete
  elif [[ " $codes " == *' 75 '* ]]; then
    ended=stopped
  elif [ -n "$codes" ]; then
    ended="crashed ($codes)"
  fi
}

count_restart() {
  if find_newest; then restarts=0; fi
  if [ $restarts -ge 3 ]; then
    give_up "three restarts without a new checkpoint; the last end: $ended"
  fi
  restarts=$((restarts + 1))
  say "$ended; restart $restarts since checkpoint ${newest/#-1/none}"
}

# Takes over the slice of an `up` that was killed, and its run.
take_over() {
  local state
  state=$(state_of "$slice")
  case "$state" in
    ABSENT) return ;;
    UNKNOWN) give_up "gcloud fails: $(tail -n 1 "$scratch/state_error")" ;;
  esac
  say "$slice is there already; going on with it"
  made=yes
  if on_workers "$worker status" 2>/dev/null | grep -q ' running$'; then
    prepared=yes ended=running
  fi
}

trap finish EXIT
trap 'stopped=INT' INT
trap 'stopped=TERM' TERM
trap 'stopped=HUP' HUP
pack || give_up "the checkout $root could not be packed"
take_over
find_newest || true

while :; do
  if [ "$ended" != running ]; then
    await_slice
    if begin; then ended=running; else ended=lost; fi
  fi
  if [ "$ended" = running ]; then watch_run; fi
  case "$ended" in
    complete) say "complete: $workdir"; exit 0 ;;
    bad) refuse "bad input, which the log above names" ;;
    lost)
      say "the slice is lost or out of reach"
      discard
      ;;
  esac
  count_restart
done
