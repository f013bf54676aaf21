#!/usr/bin/env bash
#SBATCH --job-name=mechsweep
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --signal=B:USR1@120
#
# Usage: sbatch [SBATCH OPTIONS] slurm/sweep.sh CONFIG [--out FILE]
#        slurm/sweep.sh CONFIG [--out FILE] [-- SBATCH OPTIONS]      submits itself
#
# Runs the sweep CONFIG on the job's tasks, one rank each, until its results file is complete, and
# then has it reduced by a small job of its own. FILE is results/STEM/STEM.h5 below the folder of
# submission unless --out names it; STEM is CONFIG without folder and suffix. A config that names an
# output file needs --out. For example:
#
#   sbatch --nodes=4 --ntasks-per-node=8 --cpus-per-task=4 --time=4:00:00 slurm/sweep.sh \
#     configs/quickstart.yaml
#
# When a rank or a node dies, the sweep is started again on the nodes that are left. Shortly before
# the time limit, or when the job is preempted, the ranks finish or drop what they are doing and the
# job puts itself back into the queue; where that is not allowed, it submits a successor. Nothing
# that was recorded is computed again. Three launches in a row that record nothing end the job. To
# stop for good, touch FILE with .stop in place of .h5, or use scancel.
#
#   --reduce        only reduces FILE, which is what the small job does
#   --part-of N     in a job array 1-N: only part I of the sweep, into STEM.part-I-of-N.h5
#   --merge N       puts those N parts together into FILE first, and then goes on with what is left
#   --check         only checks the arguments
#   --list LIST     in a job array: CONFIG is line I of LIST, where I is the number in the array, as
#                   a path from the folder of LIST; `mechsweep grid` writes such lists
#
# slurm/array.sh submits such arrays. What the ranks say is in one file for each launch, beside
# FILE: STEM.JOB-RESTART-LAUNCH.log. What is particular to a cluster stands in slurm/site.conf; see
# slurm/site.conf.example.
#
# Exit status: 0 complete, 1 complete but some units failed, 2 usage or config, 3 bad input file,
# 4 resources, 5 stopped with units left (submit again to go on), 70 internal error.

set -uo pipefail

BARREN_LAUNCHES=3 # so many in a row that record nothing are no accident

fail() {
  local status=$1
  shift
  printf 'sweep: %s\n' "$*" >&2
  exit "$status"
}
say() { printf '%s sweep: %s\n' "$(date '+%F %T')" "$*"; }

main() {
  local config='' file='' list='' parts=0 merge=0
  local only_reduce=false only_check=false guarded='' submission=() arguments=()
  parse_arguments "$@"
  ! $only_check || exit 0
  root=$(find_root) || exit
  # shellcheck source-path=SCRIPTDIR source=job.sh
  source "$root/slurm/job.sh"
  read_site_file
  # Slurm sets this also in `salloc`, where running inside the allocation is what is wanted.
  if [[ -z ${SLURM_JOB_ID:-} ]]; then
    submit_itself
  fi
  find_files
  prepare_job
  if [[ -n $guarded ]]; then
    guard
  fi
  start_guard
  # Left by an earlier job. A stop asked for from now on is for this one.
  rm -f "$stop_file"
  if ! $only_reduce; then
    sweep
  fi
  reduce
  exit "$final_status"
}

parse_arguments() {
  while (($#)); do
    case $1 in
      -h | --help) sed -n '/^# Usage/,/^[^#]/{/^#/!q;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
      --)
        submission=("${@:2}")
        break
        ;;
      --reduce) only_reduce=true ;;
      --check) only_check=true ;;
      --guard) # by start_guard only, so that it is in no `arguments`
        guarded=$2
        shift 2
        continue
        ;;
      --out | --list | --part-of | --merge)
        (($# > 1)) || fail 2 "$1 needs a value; see --help."
        set_option "$1" "$2"
        arguments+=("$1")
        shift
        ;;
      --out=* | --list=* | --part-of=* | --merge=*) set_option "${1%%=*}" "${1#*=}" ;;
      -*) fail 2 "unknown option '$1'; see --help." ;;
      *)
        [[ -z $config ]] || fail 2 "one config is wanted, but '$config' and '$1' were given."
        config=$1
        ;;
    esac
    arguments+=("$1")
    shift
  done
  check_arguments
}

# set_option NAME VALUE
set_option() {
  case $1 in
    --out) file=$2 ;;
    --list) list=$2 ;;
    --part-of) parts=$2 ;;
    --merge) merge=$2 ;;
  esac
  if [[ $1 == --part-of || $1 == --merge ]]; then
    [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || fail 2 "$1 wants a number of parts, not '$2'."
  fi
}

check_arguments() {
  local part
  if [[ -n $list ]]; then
    [[ -z $config$file ]] || fail 2 "--list names the configs; give no other config and no --out."
    [[ -r $list ]] || fail 2 "the list $list cannot be read."
    # What is submitted chooses when it runs.
    [[ -n ${SLURM_JOB_ID:-} ]] || return 0
    config=$(sed -n "${SLURM_ARRAY_TASK_ID:-0}{p;q}" "$list" 2> /dev/null)
    [[ -n $config ]] || fail 2 "$list has no line ${SLURM_ARRAY_TASK_ID:-0}; is this a job array?"
    [[ $config == /* ]] || config=$(dirname "$list")/$config
  fi
  [[ -n $config ]] || fail 2 "a config is wanted; see --help."
  [[ -r $config ]] || fail 2 "the config $config cannot be read."
  if [[ -z $file ]]; then
    if grep -Eq '^output[[:space:]]*:' "$config"; then
      fail 2 "$config names its output file; say --out FILE as well, so that this script knows it."
    fi
    file=$(basename "$config")
    file=results/${file%.*}/${file%.*}.h5
  fi
  [[ $file == *.h5 ]] || fail 2 "the results file $file must end in .h5."
  merge_parts=()
  for ((part = 1; part <= merge; ++part)); do
    merge_parts+=("${file%.h5}.part-$part-of-$merge.h5")
  done
  part_option=()
  if ((parts)) && [[ -n ${SLURM_JOB_ID:-} ]]; then
    [[ -n ${SLURM_ARRAY_TASK_ID:-} ]] || fail 2 "--part-of is for job arrays; see slurm/array.sh."
    part_option=("--part" "$SLURM_ARRAY_TASK_ID/$parts")
    file=${file%.h5}.part-$SLURM_ARRAY_TASK_ID-of-$parts.h5
  fi
}

# The checkout. Slurm runs a copy of this script from its own folder, so that $0 does not tell.
find_root() {
  local script=$0
  if [[ -n ${MECHSWEEP_ROOT:-} ]]; then
    printf '%s\n' "$MECHSWEEP_ROOT"
    return
  fi
  if [[ ! -e $(dirname "$script")/job.sh && -n ${SLURM_JOB_ID:-} ]]; then
    script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p' | head -n 1)
  fi
  [[ -e $(dirname "$script")/job.sh ]] \
    || fail 2 "the checkout was not found; set MECHSWEEP_ROOT to it."
  (cd "$(dirname "$script")/.." && pwd)
}

submit_itself() {
  command -v sbatch > /dev/null || fail 2 "there is no sbatch here; see --help."
  site_options
  exec sbatch "${options[@]}" "${submission[@]}" "$root/slurm/sweep.sh" \
    "${arguments[@]}"
}

# Asks the results file: `status` is 0 complete, 1 some units failed, 5 units left, 3 not readable;
# `units` is the number of those that are over.
look_at_file() {
  local json
  status=5 units=0
  [[ -e $file ]] || return 0
  json=$("${program[@]}" status --json "$file")
  status=$?
  units=$(sed -n 's/^  "\(done\|failed\|skipped\|quarantined\)": *\([0-9]*\),\{0,1\}$/\2/p' \
    <<< "$json" | paste -sd +)
  units=$((units))
}

# Launches until the file is complete; sets final_status. Ends the script where that cannot be.
sweep() {
  local status units run_status launch=0
  merge_first
  look_at_file
  while ((status != 0 && status != 1)); do
    if $signalled; then
      go_on_later "the job is to end before launch $((launch + 1))"
    fi
    check_progress
    if ((++launch > SITE_MAX_LAUNCHES)); then
      go_on_later "the sweep ended early $SITE_MAX_LAUNCHES times"
    fi
    note_launch
    # shellcheck disable=SC2086 # several options
    launch "$launch" run "$config" --out "$file" "${part_option[@]}" "${end_by_option[@]}" \
      $SITE_RUN_OPTIONS
    run_status=$?
    if is_final "$run_status"; then
      fail "$run_status" "mechsweep run ended with status $run_status; see $log."
    fi
    # srun's own status does not tell a finished sweep from a killed one; the file does. Only of
    # one part, the file cannot know.
    look_at_file
    if ((parts && run_status <= 1)); then
      break
    fi
    case $status in
      0 | 1) ;;
      5) after_early_end ;;
      *) fail "$status" "mechsweep status of $file ended with $status; see above." ;;
    esac
  done
  rm -f "$launches"
  say "complete: $file"
  if ((parts)); then
    exit 0 # what failed is for the job that merges
  fi
  final_status=$status
}

# Once more after a merge that was cut short; not after a launch, for which it was complete.
merge_first() {
  local status units options=() merged
  look_at_file
  if ((merge == 0 || status == 0)) || [[ -e $launches ]]; then
    return
  fi
  say "putting $merge parts together into $file"
  [[ " $SITE_RUN_OPTIONS " != *" --allow-mixed "* ]] || options=(--allow-mixed)
  "${program[@]}" merge "$file" "${merge_parts[@]}" "${options[@]}"
  merged=$?
  # As of status: units that failed or are left are for what follows.
  case $merged in
    0 | 1 | 5) ;;
    *) fail "$merged" "the parts could not be put together; see above." ;;
  esac
}

# Whether a status says that another try would end alike. The last two may also come of a lost node.
is_final() {
  local before=${#nodes[@]}
  case $1 in
    2 | 3) return 0 ;;
    4 | 70) find_nodes_left && ((${#nodes[@]} == before)) ;;
    *) return 1 ;;
  esac
}

# Uses sweep's variables.
after_early_end() {
  say "mechsweep run ended with status $run_status; $units units are over"
  # 5 is also what a watchdog ends with, for which there is no need to wait in the queue.
  if $signalled || { ((run_status == 5)) && ! grep -q ': critical: rank .* hung ' "$log"; }; then
    go_on_later "mechsweep run stopped with units left"
  fi
  tail -n 5 "$log"
  if [[ -e $stop_file ]]; then
    fail 5 "$stop_file asks to stop. Submit again to go on."
  fi
  find_nodes_left || go_on_later "no node answers"
}

# One line for each launch, with the units over at its start. Written before, as a job whose first
# node dies has no time later. It is removed when the sweep is complete.
note_launch() {
  printf '%s %s restart %s launch %s %s\n' "$chain" "$units" "${SLURM_RESTART_COUNT:-0}" "$launch" \
    "$(date '+%F %T')" >> "$launches"
}

# Ends the script when the last launches of this job, requeued or not, have recorded nothing. Those
# that were preempted do not count.
check_progress() {
  local barren
  barren=$(tail -n "$BARREN_LAUNCHES" "$launches" 2> /dev/null | grep -c "^$chain $units restart")
  if ((barren >= BARREN_LAUNCHES)); then
    fail 5 "$barren launches in a row recorded nothing: see ${file%.h5}.$SLURM_JOB_ID-*.log. Give" \
      "the job more time or memory, or mend what they name, and submit again."
  fi
}

reduce() {
  local run_status launch
  if ! $only_reduce; then
    [[ $SITE_REDUCE != no ]] || return 0
    if [[ $SITE_REDUCE == job ]] && submit_reduce; then
      return 0
    fi
  fi
  for ((launch = 1; launch <= BARREN_LAUNCHES; ++launch)); do
    if $signalled; then
      go_on_later "there is no time left to reduce"
    fi
    say "reducing $file"
    launch "reduce-$launch" reduce "$file"
    run_status=$?
    case $run_status in
      0)
        say "reduced: $file"
        return
        ;;
      1)
        final_status=1
        return
        ;;
      5) go_on_later "mechsweep reduce stopped early" ;;
    esac
    if is_final "$run_status"; then
      fail "$run_status" "mechsweep reduce ended with status $run_status; see $log."
    fi
    say "mechsweep reduce ended with status $run_status"
    tail -n 5 "$log"
    $signalled || find_nodes_left || go_on_later "no node answers"
  done
  fail 5 "mechsweep reduce ended early $BARREN_LAUNCHES times; see $log."
}

# After this job, whatever its status: failed units are reduced, too. Only when there is something
# to reduce, so that a cancelled sweep leaves nothing in the queue.
submit_reduce() {
  local job options tasks=1
  if ((${#nodes[@]})); then
    tasks=${tasks_of[${nodes[0]}]}
  fi
  # shellcheck disable=SC2206 # several options
  options=($MECHSWEEP_JOB_OPTIONS --nodes=1 "--ntasks=$tasks" "--job-name=$SLURM_JOB_NAME-reduce"
    "--dependency=afterany:$SLURM_JOB_ID" $SITE_REDUCE_OPTIONS)
  if job=$(submit "${options[@]}" "$root/slurm/sweep.sh" "$config" --out "$file" --reduce); then
    say "job ${job%%;*} will reduce it"
  else
    say "the job that reduces it could not be submitted; it is done here"
    return 1
  fi
}

# Puts the job back into the queue, unless somebody stopped it or it was there often enough.
go_on_later() {
  local restarts=$((${SLURM_RESTART_COUNT:-0} + ${MECHSWEEP_CHAINED:-0})) state
  if ! $signalled && [[ -e $stop_file ]]; then
    fail 5 "$1; $stop_file asks to stop. Submit again to go on."
  fi
  if ((restarts >= SITE_MAX_REQUEUES)); then
    fail 5 "$1; the job was requeued $restarts times, which is the limit. Submit again to go on."
  fi
  # `scancel` ends a job with TERM as well, and must not bring it back. Where Slurm itself requeues
  # it, nothing is to be done.
  state=$(job_field JobState)
  if [[ $state != RUNNING ]]; then
    fail 5 "$1; the job is ${state:-unknown to Slurm}, so that it is left as it is."
  fi
  if $preempted; then
    echo "$chain preempted" >> "$launches"
  fi
  trap '' TERM USR1
  if [[ $SITE_REQUEUE == yes ]]; then
    say "$1; requeueing (number $((restarts + 1)))"
    if scontrol requeue "$SLURM_JOB_ID"; then
      # Slurm ends this script now; the job's status must not look final before it does.
      sleep 30
      exit "${requeued_status:-5}"
    fi
  fi
  submit_successor "$1" $((restarts + 1))
}

# submit_successor REASON NUMBER: a job like this one, which starts when this one is over.
submit_successor() {
  local job options=() name=$SLURM_JOB_NAME
  # A name of its own, so that it waits for no other sweep.
  [[ $name != mechsweep ]] || name=mechsweep-$(basename "${file%.h5}")
  # shellcheck disable=SC2206 # several options
  options=($MECHSWEEP_JOB_OPTIONS $MECHSWEEP_JOB_SIZES "--job-name=$name"
    "--dependency=singleton,afterany:$SLURM_JOB_ID")
  job=$(MECHSWEEP_CHAINED=$2 MECHSWEEP_CHAIN=$chain submit "${options[@]}" \
    "$root/slurm/sweep.sh" "${arguments[@]}") \
    || fail 5 "$1, and this cluster neither requeues nor takes a job. Submit again to go on."
  say "$1; job ${job%%;*} goes on (number $2)"
  exit 5
}

main "$@"
