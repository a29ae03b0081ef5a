# shellcheck shell=bash
# shellcheck disable=SC2154  # flag_names is a variable of the script.
# Flags of cloud_tpu.sh and gke.sh, which source this file; it runs nothing.

# Sets the variable of a flag --NAME=VALUE. Its NAME has to be one of the
# script's `flag_names`; returns 1 otherwise.
set_flag() {
  local known
  for known in "${flag_names[@]}"; do
    if [[ "$1" == "--$known="* ]]; then
      printf -v "$known" %s "${1#*=}"
      return
    fi
  done
  return 1
}

require_flags() {
  local flag
  for flag in "$@"; do
    if [ -z "${!flag}" ]; then refuse "--$flag=... is missing"; fi
  done
}

# Prints a command as --dry_run shows it.
print_command() {
  printf '+'
  printf ' %q' "$@"
  echo
}
