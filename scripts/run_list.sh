#!/usr/bin/env bash
# Usage: scripts/run_list.sh LIST OUT [PATTERN]
#
# Runs the configs of a list that `mechsweep grid` wrote, one after the other on this machine, each
# into a folder of its own below OUT: results.h5, the summary (HDF5, CSV, JSON) and report/ with the
# figures. With PATTERN only configs whose file name matches it (a pattern of the shell). Safe to run
# again: complete results are kept, interrupted ones go on. On a cluster use slurm/array.sh --list.
#
#   RANKS   ranks for each config (2)
#
# It goes on after a config that fails, and ends with the status of the last failure.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
  case ${1:-} in
    -h | --help) print_help && exit 0 ;;
  esac
  (($# == 2 || $# == 3)) || fail 2 "two or three arguments are needed; see --help."
  local list=$1 out=$2 pattern=${3:-*} status=0 folder config
  [[ -r $list ]] || fail 2 "$list cannot be read; mechsweep grid writes such lists."
  folder=$(dirname "$list")
  prepare_mpi
  while IFS= read -r config; do
    # shellcheck disable=SC2053 # the pattern is one
    [[ -n $config && ${config##*/} == $pattern ]] || continue
    run_one "$folder/$config" "$out/$(basename "$config" .yaml)" || status=$?
  done < "$list"
  exit "$status"
}

# run_one CONFIG FOLDER
run_one() {
  local config=$1 folder=$2 file=$2/results.h5 start=$SECONDS
  mkdir -p "$folder"
  say "$config"
  # The list is read from standard input, which is none of theirs.
  run_ranks "${RANKS:-2}" "$ROOT/build/mechsweep" run "$config" --out "$file" < /dev/null || return
  "$ROOT/build/mechsweep" reduce "$file" < /dev/null || return
  draw "$file" "$folder/report" < /dev/null || return
  say "$folder took $((SECONDS - start)) s"
}

draw() {
  local python
  python=$(environment_python analysis) || return
  # It names every file that it writes; here the folder is enough.
  PYTHONPATH=$ROOT/analysis "$python" -m mechsweep_analysis "$1" --out "$2" > "$2.txt"
}

main "$@"
