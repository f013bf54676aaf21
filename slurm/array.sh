#!/usr/bin/env bash
#
# Usage: slurm/array.sh CONFIG --parts N [--out FILE] [--at-once M] [-- SBATCH OPTIONS]
#        slurm/array.sh --list LIST [--at-once M] [-- SBATCH OPTIONS]
#
# Submits a job array, for clusters where many small jobs start sooner than a large one.
#
# With --parts, job I of N runs part I of the sweep CONFIG into a results file of its own,
# STEM.part-I-of-N.h5 beside FILE. When all have succeeded, another job puts the parts together into
# FILE, computes what no part could (stages that build on all results), and has FILE reduced. FILE
# is what slurm/sweep.sh would write, with the same digest; delete the parts when you have it.
#
# With --list, job I runs the config that is line I of LIST, like slurm/sweep.sh. Lines are paths
# from the folder of LIST; `mechsweep grid` writes such lists.
#
#   --at-once M   at most M jobs of the array run at the same time
#
# SBATCH OPTIONS are sizes of each job. Each looks after itself as slurm/sweep.sh does; see its
# --help. Account, partition and sizes may also stand in slurm/site.conf. For example:
#
#   slurm/array.sh configs/quickstart.yaml --parts 16 -- --ntasks=2 --cpus-per-task=8 --time=2:00:00
#
# Prints the numbers of the jobs. Exit status: 0 submitted, 2 usage, 4 sbatch refused.

set -uo pipefail

fail() {
  local status=$1
  shift
  printf 'array: %s\n' "$*" >&2
  exit "$status"
}

main() {
  local config='' file=() list='' parts=0 at_once='' options=() submission=()
  parse_arguments "$@"
  root=$(cd "$(dirname "$0")/.." && pwd)
  # shellcheck source-path=SCRIPTDIR source=job.sh
  source "$root/slurm/job.sh"
  read_site_file
  command -v sbatch > /dev/null || fail 2 "there is no sbatch here; see --help."
  site_options
  options+=("${submission[@]}")
  if [[ -n $list ]]; then
    submit_list
  else
    submit_parts
  fi
}

parse_arguments() {
  while (($#)); do
    case $1 in
      -h | --help) sed -n '/^# Usage/,/^[^#]/{/^#/!q;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
      --)
        submission=("${@:2}")
        break
        ;;
      --parts | --out | --list | --at-once)
        (($# > 1)) || fail 2 "$1 needs a value; see --help."
        set_option "$1" "$2"
        shift
        ;;
      --*=*) set_option "${1%%=*}" "${1#*=}" ;;
      -*) fail 2 "unknown option '$1'; options of sbatch come after --; see --help." ;;
      *)
        [[ -z $config ]] || fail 2 "one config is wanted, but '$config' and '$1' were given."
        config=$1
        ;;
    esac
    shift
  done
  if [[ -n $list ]]; then
    [[ -z $config && $parts == 0 && ${#file[@]} == 0 ]] \
      || fail 2 "--list names the configs; give no other config, no --parts and no --out."
    [[ -r $list ]] || fail 2 "the list $list cannot be read."
    return
  fi
  [[ -n $config ]] || fail 2 "a config or a --list is wanted; see --help."
  ((parts)) || fail 2 "--parts is wanted: the number of jobs that share the sweep."
}

# set_option NAME VALUE
set_option() {
  case $1 in
    --parts | --at-once) [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || fail 2 "$1 wants a number, not '$2'." ;;
  esac
  case $1 in
    --parts) parts=$2 ;;
    --out) file=(--out "$2") ;;
    --list) list=$2 ;;
    --at-once) at_once=%$2 ;;
    *) fail 2 "unknown option '$1'; options of sbatch come after --; see --help." ;;
  esac
}

# send SBATCH_ARGUMENT... prints the number of the new job.
send() {
  local job
  job=$(submit "${options[@]}" "$@") || fail 4 "sbatch refused the job; see above."
  printf '%s\n' "${job%%;*}"
}

submit_list() {
  local line config count=0 job folder=${list%/*}
  [[ $list == */* ]] || folder=.
  while IFS= read -r line || [[ -n $line ]]; do
    config=$line count=$((count + 1))
    [[ $config == /* ]] || config=$folder/$config
    [[ -r $config ]] || fail 2 "line $count of $list, '$config', is no config that can be read."
  done < "$list"
  ((count)) || fail 2 "the list $list is empty."
  job=$(send "--array=1-$count$at_once" "$root/slurm/sweep.sh" --list "$list") || exit
  echo "job $job: $count sweeps"
}

submit_parts() {
  local arguments=("$config" "${file[@]}") job last
  # Refuses what sweep.sh would, before anything is in the queue.
  SLURM_JOB_ID='' bash "$root/slurm/sweep.sh" "${arguments[@]}" --check || exit
  job=$(send "--array=1-$parts$at_once" "$root/slurm/sweep.sh" "${arguments[@]}" \
    --part-of "$parts") || exit
  last=$(send "--dependency=afterok:$job" --kill-on-invalid-dep=yes "$root/slurm/sweep.sh" \
    "${arguments[@]}" --merge "$parts") || exit
  echo "job $job: $parts parts; job $last: puts them together"
}

main "$@"
