# shellcheck shell=bash disable=SC2034,SC2154 # variables come from the caller and go to it
# What sweep.sh and array.sh share: the site file, submission, and launching ranks on those nodes of
# the job that still answer. `source` it, do not run it; the caller sets `root` and defines fail and
# say.

PROBE_S=60 # a node that starts nothing within this time is lost
GUARD_S=5
LATEST_S=20 # before the end of the job, when ranks that do not stop are given up
PREEMPTED_S=300 # a signal that comes this much before the end of the job is not for its time limit

# Sets SITE_...; what the environment says wins over slurm/site.conf.
read_site_file() {
  local site=$root/slurm/site.conf mode owner name given=''
  for name in ${!SITE_@}; do
    given+="$name=${!name@Q};"
  done
  SITE_MPI=pmix SITE_LAUNCHER=srun SITE_SRUN_OPTIONS='' SITE_MPIRUN_OPTIONS=''
  SITE_MAX_REQUEUES=20 SITE_MAX_LAUNCHES=10 SITE_REQUEUE=yes SITE_END_MARGIN=180
  SITE_REDUCE=job SITE_REDUCE_OPTIONS='' SITE_SBATCH_OPTIONS='' SITE_RUN_OPTIONS=''
  SITE_MODULES='' SITE_WRAPPER='' SITE_ACCOUNT='' SITE_PARTITION=''
  SITE_PROGRAM=$root/build/mechsweep
  if [[ -e $site ]]; then
    mode=$(stat -L -c %a "$site") owner=$(stat -L -c %u "$site")
    # It is run as shell, as you: nobody else may have written it.
    if ((8#$mode & 8#022)) || [[ $owner != "$(id -u)" && $owner != 0 ]]; then
      fail 2 "$site can be written by others; make it yours and run: chmod go-w $site"
    fi
    # shellcheck source=/dev/null
    source "$site" || fail 2 "$site ended with an error."
  fi
  eval "$given"
  for name in SITE_MAX_REQUEUES SITE_MAX_LAUNCHES SITE_END_MARGIN; do
    [[ ${!name} =~ ^[0-9]+$ ]] || fail 2 "$name is a number, not '${!name}'."
  done
  check_choice SITE_LAUNCHER srun mpirun
  check_choice SITE_REQUEUE yes no
  check_choice SITE_REDUCE job inline no
}

# check_choice NAME VALUE...
check_choice() {
  local name=$1
  shift
  [[ " $* " == *" ${!name} "* ]] || fail 2 "$name is one of $*, not '${!name}'."
}

# Sets `options` for a job that is submitted by hand.
site_options() {
  # shellcheck disable=SC2206 # several options
  options=($SITE_SBATCH_OPTIONS)
  [[ -z $SITE_ACCOUNT ]] || options+=("--account=$SITE_ACCOUNT")
  [[ -z $SITE_PARTITION ]] || options+=("--partition=$SITE_PARTITION")
}

# What sbatch has to be told for a job like this one; exported for the guard, which sees less.
note_options() {
  local limit
  [[ -z ${MECHSWEEP_JOB_OPTIONS:-} || -z $guarded ]] || return 0
  export MECHSWEEP_JOB_OPTIONS='' MECHSWEEP_JOB_SIZES=''
  limit=$(job_field TimeLimit)
  [[ -z $limit || $limit == UNLIMITED ]] || MECHSWEEP_JOB_OPTIONS="--time=$limit"
  add_options MECHSWEEP_JOB_OPTIONS account:JOB_ACCOUNT partition:JOB_PARTITION qos:JOB_QOS \
    reservation:JOB_RESERVATION cpus-per-task:CPUS_PER_TASK mem:MEM_PER_NODE \
    mem-per-cpu:MEM_PER_CPU
  add_fields MECHSWEEP_JOB_OPTIONS exclude:ExcNodeList constraint:Features
  add_fields MECHSWEEP_JOB_SIZES nodelist:ReqNodeList
  add_options MECHSWEEP_JOB_SIZES nodes:JOB_NUM_NODES ntasks:NTASKS \
    ntasks-per-node:NTASKS_PER_NODE gpus-per-node:GPUS_PER_NODE array:ARRAY_TASK_ID
}

# add_options VARIABLE OPTION:NAME... appends --OPTION=$SLURM_NAME where that is set.
add_options() {
  local -n all=$1
  local pair name
  shift
  for pair in "$@"; do
    name=SLURM_${pair#*:}
    [[ -z ${!name:-} ]] || all+=" --${pair%%:*}=${!name}"
  done
}

# add_fields VARIABLE OPTION:FIELD... does it for what only `scontrol show job` knows.
add_fields() {
  local -n fields=$1
  local pair value
  shift
  for pair in "$@"; do
    value=$(job_field "${pair#*:}")
    [[ -z $value || $value == "(null)" ]] || fields+=" --${pair%%:*}=$value"
  done
}

# sbatch "$@" without this job's own variables, which would mix with the new one's. Prints its
# number.
submit() {
  (
    forget_job
    MECHSWEEP_ROOT=$root sbatch --parsable "$@"
  )
}

forget_job() {
  local name
  for name in ${!SLURM_@}; do
    [[ $name == SLURM_CONF ]] || unset "$name"
  done
}

# Sets stop_file, launches and program; needs `file`.
find_files() {
  stop_file=${file%.h5}.stop
  launches=${file%.h5}.launches
  mkdir -p "$(dirname "$file")" || fail 4 "the folder of $file cannot be made."
  if [[ -n $SITE_MODULES ]]; then
    # shellcheck disable=SC2086 # several modules
    module load $SITE_MODULES || fail 2 "the modules '$SITE_MODULES' (SITE_MODULES) do not load."
  fi
  [[ -x $SITE_PROGRAM || -n $SITE_WRAPPER ]] \
    || fail 2 "$SITE_PROGRAM is not there; run scripts/build.sh, or set SITE_PROGRAM."
  # shellcheck disable=SC2206 # the wrapper is a command with arguments
  program=($SITE_WRAPPER "$SITE_PROGRAM")
}

# job_field NAME of what Slurm says about this job now.
job_field() {
  scontrol -o show job "$SLURM_JOB_ID" | tr ' ' '\n' | sed -n "s/^$1=//p" | head -n 1
}

# Nodes, tasks, time and signals of this job, as it starts.
prepare_job() {
  local counts=() item k
  final_status=0
  SLURM_JOB_NAME=${SLURM_JOB_NAME:-mechsweep}
  chain=${MECHSWEEP_CHAIN:-$SLURM_JOB_ID} # the first job of a chain of successors
  signalled=false preempted=false launch_pid='' log=''
  declare -gA tasks_of=()
  nodes=() all_there=true
  if [[ -n ${SLURM_JOB_NODELIST:-} && -n ${SLURM_TASKS_PER_NODE:-} ]]; then
    mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
    # "2(x3),1" is 2 2 2 1.
    for item in ${SLURM_TASKS_PER_NODE//,/ }; do
      k=1
      [[ $item != *x* ]] || k=${item//[^0-9x]/} k=${k#*x}
      for ((; k > 0; --k)); do
        counts+=("${item%%(*}")
      done
    done
    for k in "${!nodes[@]}"; do
      tasks_of[${nodes[k]}]=${counts[k]:-1}
    done
  fi
  note_options
  find_end
  # USR1 may come a minute early; preemption may send only TERM. Both mean the same.
  trap 'on_signal USR1' USR1
  trap 'on_signal TERM' TERM
}

# The ranks start nothing that cannot end some time before the job does.
find_end() {
  local end now margin
  end=$(job_field EndTime) end_time='' end_by_option=()
  [[ -n $end ]] && end_time=$(date -d "$end" +%s 2> /dev/null) || return 0
  now=$(date +%s)
  margin=$(((end_time - now) / 10))
  ((margin < SITE_END_MARGIN)) || margin=$SITE_END_MARGIN
  end_by_option=(--end-by $((end_time - margin)))
}

# shellcheck disable=SC2317 # called by the traps
on_signal() {
  say "got SIG$1; the ranks are told to stop"
  signalled=true
  if [[ -z $end_time ]] || (($(date +%s) < end_time - PREEMPTED_S)); then
    preempted=true
  fi
  # The ranks look at the file too: NCCL may catch the signal before they do.
  touch "$stop_file"
  if [[ -n $launch_pid ]]; then
    kill -USR1 "$launch_pid" 2> /dev/null
  fi
}

# launch NUMBER ARGUMENT... runs the program on all ranks and returns its exit status. Sets log.
launch() {
  log=${file%.h5}.$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}-$1.log
  shift
  say "mechsweep $* (start ${SLURM_RESTART_COUNT:-0}${nodes[0]:+, on ${nodes[*]}}); output in $log"
  case $SITE_LAUNCHER in
    srun) launch_srun "$@" ;;
    mpirun) launch_mpirun "$@" ;;
  esac >> "$log" 2>&1 &
  launch_pid=$!
  # A signal ends `wait` early, while srun goes on; the last `wait` gets its true status even when
  # it ended during the signal.
  while kill -0 "$launch_pid" 2> /dev/null; do
    if $signalled; then
      insist
    else
      wait "$launch_pid"
    fi
  done
  wait "$launch_pid"
  local status=$?
  launch_pid=''
  first_status "$status"
}

# first_status STATUS returns the exit status of the rank that ended first. srun ends the others
# then and itself exits with the largest status, which may be theirs (143); it names the first.
first_status() {
  local first
  if (($1 > 128)); then
    first=$(grep -m 1 -E '^srun: error: [^:]+: tasks? [^:]+: ' "$log")
    if [[ $first =~ Exited\ with\ exit\ code\ ([0-9]+)$ ]]; then
      return "${BASH_REMATCH[1]}"
    fi
  fi
  return "$1"
}

# Ranks that were just starting may have missed the signal and removed the file as an old one.
insist() {
  if [[ -n $end_time ]] && (($(date +%s) > end_time - LATEST_S)); then
    go_on_later "the ranks do not stop in time"
  fi
  touch "$stop_file"
  sleep 1
}

launch_srun() {
  local options=("--mpi=$SITE_MPI" --kill-on-bad-exit=1)
  # srun has not taken this over from sbatch since Slurm 22.05.
  options+=("--cpus-per-task=${SLURM_CPUS_PER_TASK:-1}")
  if [[ -n ${SLURM_GPUS_ON_NODE:-} ]]; then
    options+=("--gpus-per-node=$SLURM_GPUS_ON_NODE" --gpu-bind=none)
  fi
  use_nodes_left
  # shellcheck disable=SC2086 # several options
  exec srun "${options[@]}" "${sizes[@]}" $SITE_SRUN_OPTIONS "${program[@]}" "$@"
}

# mpirun takes nodes and tasks from the job. Threads of a rank want more than the one core that it
# would bind them to.
launch_mpirun() {
  use_nodes_left
  # shellcheck disable=SC2086 # several options
  exec mpirun --bind-to none $SITE_MPIRUN_OPTIONS "${program[@]}" "$@"
}

# Sets `sizes` for srun, and the variables that mpirun reads, to the nodes that are left. In a
# process of its own.
use_nodes_left() {
  local node per_node='' tasks=0 list
  sizes=()
  if $all_there; then
    return
  fi
  for node in "${nodes[@]}"; do
    per_node+=,${tasks_of[$node]}
    ((tasks += tasks_of[$node]))
  done
  list=$(IFS=,; echo "${nodes[*]}")
  sizes=("--nodes=${#nodes[@]}" "--nodelist=$list" "--ntasks=$tasks")
  export SLURM_JOB_NODELIST=$list SLURM_NODELIST=$list SLURM_TASKS_PER_NODE=${per_node#,}
  export SLURM_JOB_NUM_NODES=${#nodes[@]} SLURM_NNODES=${#nodes[@]}
  export SLURM_NTASKS=$tasks SLURM_NPROCS=$tasks
}

# Reduces `nodes` to those that Slurm still counts as the job's and that start a process. Slurm
# itself may need minutes to notice that a node is gone. Fails when none is left.
find_nodes_left() {
  local node left=() pids=() here
  ((${#nodes[@]})) || return 0
  here=" $(scontrol show hostnames "$(job_field NodeList)" | paste -sd ' ') "
  for node in "${nodes[@]}"; do
    [[ $here == *" $node "* ]] || continue
    probe "$node" &
    pids+=("$!:$node")
  done
  for node in "${pids[@]}"; do
    if wait "${node%%:*}"; then
      left+=("${node#*:}")
    fi
  done
  if ((${#left[@]} < ${#nodes[@]})); then
    say "of the nodes ${nodes[*]}, these still answer: ${left[*]:-none}"
    all_there=false
    nodes=("${left[@]}")
  fi
  ((${#nodes[@]})) || return 1
  start_guard
}

probe() {
  local job=$SLURM_JOB_ID
  forget_job
  trap - TERM USR1
  timeout -k 5 "$PROBE_S" srun --jobid="$job" --overlap --mpi=none --nodes=1 --ntasks=1 \
    --nodelist="$1" true > /dev/null 2>&1
}

# When the first node dies, this script dies with it, and as --no-kill keeps the rest of the job
# alive, that would idle until its time limit. So a step on the last node looks after the first.
start_guard() {
  local last=${nodes[*]: -1}
  if ((${#nodes[@]} < 2)) || [[ $last == "${guard_on:-}" ]]; then
    return 0
  fi
  guard_on=$last
  (
    trap - TERM USR1
    exec srun --overlap --mpi=none --nodes=1 --ntasks=1 --nodelist="$last" --job-name=guard \
      env MECHSWEEP_ROOT="$root" bash "$root/slurm/sweep.sh" "${arguments[@]}" \
      --guard "${nodes[0]}" > /dev/null 2>&1
  ) &
}

# Ends only with the job. What it says is beside the results, as the first node cannot take it.
guard() {
  # A stop is for the script on the first node.
  trap '' TERM USR1
  until is_first_lost; do
    sleep "$GUARD_S"
  done
  exec >> "${file%.h5}.$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}-guard.log" 2>&1
  requeued_status=75
  (go_on_later "node $guarded is gone, and the job's script with it")
  # Where it was not requeued, nobody uses its nodes any more.
  if (($? != requeued_status)) && is_first_lost; then
    scancel "$SLURM_JOB_ID"
  fi
  exit 5
}

# Whether the job runs without its first node. While a job ends or is requeued, Slurm takes away all
# its nodes; then, and when Slurm does not answer, this is not known.
is_first_lost() {
  local job nodes_now
  job=$(scontrol -o show job "$SLURM_JOB_ID") || return 1
  [[ $job == *" JobState=RUNNING "* ]] || return 1
  nodes_now=$(sed -n 's/.* NodeList=\([^ ]*\).*/\1/p' <<< "$job")
  [[ -n $nodes_now && $nodes_now != "(null)" ]] || return 1
  ! scontrol show hostnames "$nodes_now" | grep -qxF "$guarded"
}
