#!/usr/bin/env bash
#SBATCH --job-name=mechsweep
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#
# Usage: sbatch [SBATCH OPTIONS] slurm/sweep.sh CONFIG [--out FILE]
#        slurm/sweep.sh CONFIG [--out FILE]      submits itself, to the account of slurm/site.conf
#
# Runs the sweep CONFIG on the job's tasks, one rank each, until its results file is complete, and
# then reduces it. FILE is results/STEM/STEM.h5 below the folder of submission unless --out names
# it; STEM is CONFIG without folder and suffix. A config that names an output file needs --out.
#
# Shortly before the time limit, or when the job is preempted, the ranks finish or drop what they
# are doing and the job puts itself back into the queue (at most SITE_MAX_REQUEUES times); nothing
# that was recorded is computed again. To stop for good, touch FILE with .stop in place of .h5.
#
# What is particular to a cluster stands in slurm/site.conf; see slurm/site.conf.example. For
# example:  sbatch --nodes=4 --ntasks-per-node=8 --cpus-per-task=4 --time=4:00:00 slurm/sweep.sh \
#             configs/quickstart.yaml
#
# Exit status: 0 complete, 1 complete but some units failed, 2 usage or config, 3 bad input file,
# 4 resources, 5 stopped with units left (submit again to go on), 70 internal error.

set -uo pipefail

fail() {
  local status=$1
  shift
  printf 'sweep: %s\n' "$*" >&2
  exit "$status"
}
say() { printf '%s sweep: %s\n' "$(date '+%F %T')" "$*"; }

main() {
  local config='' file='' root
  parse_arguments "$@"
  root=$(find_root) || exit
  # Slurm sets this also in `salloc`, where running inside the allocation is what is wanted.
  if [[ -z ${SLURM_JOB_ID:-} ]]; then
    submit_itself "$@"
  fi
  read_site_file
  find_files
  mkdir -p "$(dirname "$file")" || fail 4 "the folder of $file cannot be made."
  # Left by an earlier job. A stop asked for from now on is for this one.
  rm -f "$stop_file"

  # USR1 may come a minute early; preemption may send only TERM. Both mean the same.
  trap 'on_signal USR1' USR1
  trap 'on_signal TERM' TERM
  sweep
}

parse_arguments() {
  while (($#)); do
    case $1 in
      -h | --help) sed -n '/^# Usage/,/^[^#]/{/^#/!q;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
      --out)
        (($# > 1)) || fail 2 "--out needs a file."
        file=$2
        shift
        ;;
      --out=*) file=${1#--out=} ;;
      -*) fail 2 "unknown option '$1'; see --help." ;;
      *)
        [[ -z $config ]] || fail 2 "one config is wanted, but '$config' and '$1' were given."
        config=$1
        ;;
    esac
    shift
  done
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
}

# The checkout. Slurm runs a copy of this script from its own folder, so that $0 does not tell.
find_root() {
  local script=$0
  if [[ -n ${MECHSWEEP_ROOT:-} ]]; then
    printf '%s\n' "$MECHSWEEP_ROOT"
    return
  fi
  if [[ ! -e $(dirname "$script")/site.conf.example && -n ${SLURM_JOB_ID:-} ]]; then
    script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=\([^ ]*\).*/\1/p')
  fi
  [[ -e $(dirname "$script")/site.conf.example ]] \
    || fail 2 "the checkout was not found; set MECHSWEEP_ROOT to it."
  (cd "$(dirname "$script")/.." && pwd)
}

read_site_file() {
  local site=$root/slurm/site.conf mode owner
  SITE_MPI=pmix SITE_MAX_REQUEUES=20 SITE_MODULES='' SITE_WRAPPER='' SITE_ACCOUNT=''
  SITE_PARTITION='' SITE_PROGRAM=$root/build/mechsweep
  [[ -e $site ]] || return 0
  mode=$(stat -L -c %a "$site") owner=$(stat -L -c %u "$site")
  # It is run as shell, as you: nobody else may have written it.
  if ((8#$mode & 8#022)) || [[ $owner != "$(id -u)" && $owner != 0 ]]; then
    fail 2 "$site can be written by others; make it yours and run: chmod go-w $site"
  fi
  # shellcheck source=/dev/null
  source "$site" || fail 2 "$site ended with an error."
}

submit_itself() {
  local options=()
  read_site_file
  command -v sbatch > /dev/null || fail 2 "there is no sbatch here; see --help."
  [[ -z $SITE_ACCOUNT ]] || options+=("--account=$SITE_ACCOUNT")
  [[ -z $SITE_PARTITION ]] || options+=("--partition=$SITE_PARTITION")
  exec sbatch "${options[@]}" "$root/slurm/sweep.sh" "$@"
}

find_files() {
  stop_file=${file%.h5}.stop
  if [[ -n $SITE_MODULES ]]; then
    # shellcheck disable=SC2086 # several modules
    module load $SITE_MODULES || fail 2 "the modules '$SITE_MODULES' of slurm/site.conf do not load."
  fi
  [[ -x $SITE_PROGRAM || -n $SITE_WRAPPER ]] \
    || fail 2 "$SITE_PROGRAM is not there; run scripts/build.sh, or set SITE_PROGRAM."
  # shellcheck disable=SC2206 # the wrapper is a command with arguments
  program=($SITE_WRAPPER "$SITE_PROGRAM")
}

signalled=false
srun_pid=''

# shellcheck disable=SC2317 # called by the traps
on_signal() {
  say "got SIG$1; the ranks are told to stop"
  signalled=true
  # The ranks look at the file too: NCCL may catch the signal before they do.
  touch "$stop_file"
  if [[ -n $srun_pid ]]; then
    kill -USR1 "$srun_pid" 2> /dev/null
  fi
}

# Runs the program with "$@" on all ranks and returns its exit status.
launch() {
  local options=("--mpi=$SITE_MPI" --kill-on-bad-exit=1)
  # srun has not taken this over from sbatch since Slurm 22.05.
  options+=("--cpus-per-task=${SLURM_CPUS_PER_TASK:-1}")
  if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then
    options+=("--gpus-per-node=$SLURM_GPUS_ON_NODE" --gpu-bind=none)
  fi
  srun "${options[@]}" "${program[@]}" "$@" &
  srun_pid=$!
  # A signal ends `wait` early, while srun goes on; the last `wait` gets its true status even when
  # it ended during the signal.
  while kill -0 "$srun_pid" 2> /dev/null; do
    wait "$srun_pid"
  done
  wait "$srun_pid"
  local status=$?
  srun_pid=''
  return "$status"
}

# The status of the results file: 0 complete, 1 some units failed, 5 units left, 3 not readable.
file_status() {
  [[ -e $file ]] || return 5
  "${program[@]}" status "$file"
}

sweep() {
  local status=5 run_status=0
  file_status > /dev/null 2>&1
  status=$?
  if $signalled; then
    go_on_later "the job is to end before the sweep began"
  fi
  if ((status != 0 && status != 1)); then
    say "running $config into $file (start ${SLURM_RESTART_COUNT:-0})"
    launch run "$config" --out "$file"
    run_status=$?
    # These say that another try would end alike.
    case $run_status in
      2 | 3 | 4 | 70) fail "$run_status" "mechsweep run ended with status $run_status; see above." ;;
    esac
    # srun's own status does not tell a finished sweep from a killed one; the file does.
    file_status
    status=$?
  fi
  case $status in
    0 | 1) ;;
    5) go_on_later "mechsweep run ended with status $run_status and left units" ;;
    *) fail "$status" "mechsweep status of $file ended with $status; see above." ;;
  esac

  if $signalled; then
    go_on_later "there is no time left to reduce"
  fi
  say "reducing $file"
  launch reduce "$file"
  run_status=$?
  case $run_status in
    0) ;;
    1) status=1 ;;
    2 | 3 | 4 | 70) fail "$run_status" "mechsweep reduce ended with status $run_status; see above." ;;
    *) go_on_later "mechsweep reduce ended with status $run_status" ;;
  esac
  say "complete: $file"
  exit "$status"
}

# Puts the job back into the queue, unless somebody stopped it or it was there often enough.
go_on_later() {
  local restarts=${SLURM_RESTART_COUNT:-0}
  if ! $signalled && [[ -e $stop_file ]]; then
    fail 5 "$1; $stop_file asks to stop. Submit again to go on."
  fi
  if ((restarts >= SITE_MAX_REQUEUES)); then
    fail 5 "$1; the job was requeued $restarts times, which is the limit. Submit again to go on."
  fi
  # `scancel` ends a job with TERM as well, and must not bring it back.
  local state
  state=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *JobState=\([A-Z_]*\).*/\1/p')
  if [[ $state != RUNNING ]]; then
    fail 5 "$1; the job is ${state:-unknown to Slurm} and is not requeued. Submit again to go on."
  fi
  say "$1; requeueing (number $((restarts + 1)))"
  trap '' TERM USR1
  scontrol requeue "$SLURM_JOB_ID" \
    || fail 5 "$1, and this cluster does not requeue the job. Submit again to go on."
  # Slurm ends this script now; the job's status must not look final before it does.
  sleep 30
  exit 5
}

main "$@"
