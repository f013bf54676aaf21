#!/usr/bin/env bash
# Usage: scripts/slurm_cluster.sh up [N] [--cpus C]
#        scripts/slurm_cluster.sh kill-node nK | resume-node nK | status | down
#
# A real Slurm cluster of N nodes (3 by default) on this one machine, for tests and for trying
# slurm/sweep.sh. As root, with the packages of scripts/install_deps.sh --tests.
#
#   up           starts munged, slurmctld and nodes n1..nN with C processors each (4 by default, even
#                if the machine has fewer); returns when all are idle and prints the `export` lines
#                that a shell needs:  eval "$(scripts/slurm_cluster.sh up 3)"
#   kill-node    ends everything on the node at once, as a power cut would; slurmctld finds it down
#                some seconds later
#   resume-node  starts it again and returns when it takes jobs
#   status       says what runs; exit status 1 when the cluster is not up
#   down         ends everything and removes it, also what a failed `up` left
#
# Each node has its own host name, processes, shared memory and temporary folder; files and the
# network are the machine's. All is kept in /run/mechsweep-slurm, with a key of its own, and listens
# on the loopback only. Partition `main` is the default; jobs in `low` give way to it.
#
# Exit status: 0, 1 (see status), 2 usage, 4 something is missing, in the way or did not start.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

FOLDER=/run/mechsweep-slurm
CONF=$FOLDER/slurm.conf
PATIENCE_S=60
FIRST_PORT=16817 # slurmctld's; the nodes' follow

export SLURM_CONF=$CONF

main() {
  local command=${1:-}
  (($# == 0)) || shift
  case $command in
    -h | --help) print_help ;;
    up) up "$@" ;;
    down) no_more_arguments "$@" && need_root && down ;;
    status) no_more_arguments "$@" && show_status ;;
    kill-node | resume-node)
      (($# == 1)) || fail 2 "$command wants the name of one node; see --help."
      need_root
      [[ -e $CONF ]] || fail 4 "the cluster is not up; start it with: scripts/slurm_cluster.sh up"
      grep -q "^NodeName=$1 " "$CONF" \
        || fail 2 "there is no node '$1'; there are: $(node_names | paste -sd ' ')."
      "${command/-/_}" "$1"
      ;;
    '') fail 2 "say up, down, kill-node, resume-node or status; see --help." ;;
    *) fail 2 "unknown command '$command'; see --help." ;;
  esac
}

no_more_arguments() { (($# == 0)) || fail 2 "unknown argument '$1'; see --help."; }

need_root() {
  [[ $(id -u) == 0 ]] \
    || fail 4 "a cluster on one machine needs root, for the nodes' own host names and mounts."
}

node_names() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "$CONF"; }

up() {
  local nodes=3 cpus=4
  while (($#)); do
    case $1 in
      --cpus)
        (($# > 1)) || fail 2 "--cpus needs a number."
        cpus=$2
        shift
        ;;
      -*) fail 2 "unknown option '$1'; see --help." ;;
      *) nodes=$1 ;;
    esac
    shift
  done
  [[ $nodes =~ ^[1-9][0-9]?$ ]] || fail 2 "the number of nodes is 1 to 99, not '$nodes'."
  [[ $cpus =~ ^[1-9][0-9]?[0-9]?$ ]] || fail 2 "--cpus is 1 to 999, not '$cpus'."
  need_root
  check_machine
  # Whatever goes wrong, nothing is left.
  trap 'status=$?; trap - EXIT; down; exit $status' EXIT
  trap 'exit 4' INT TERM
  prepare "$nodes" "$cpus"
  start_all
  trap - EXIT INT TERM
  print_exports
}

check_machine() {
  local tool pid pids
  for tool in munged slurmctld slurmd scontrol sinfo unshare; do
    command -v "$tool" > /dev/null \
      || fail 4 "$tool is missing; run scripts/install_deps.sh --tests."
  done
  [[ ! -e $FOLDER ]] \
    || fail 4 "$FOLDER is there: a cluster is up or was left; end it with: scripts/slurm_cluster.sh down"
  for tool in slurmctld slurmd slurmdbd sackd; do
    mapfile -t pids < <(grep -lxsF "$tool" /proc/[0-9]*/comm | cut -d / -f 3)
    for pid in "${pids[@]}"; do
      ! is_running "$pid" || fail 4 "this machine runs Slurm already ($tool, process $pid)."
    done
  done
  for tool in /etc/slurm/slurm.conf /etc/slurm-llnl/slurm.conf; do
    [[ ! -e $tool ]] || fail 4 "this machine belongs to a Slurm cluster already ($tool)."
  done
}

# prepare NODES CPUS writes keys and configuration.
prepare() {
  local nodes=$1 cpus=$2 host k
  host=$(uname -n)
  umask 022
  mkdir -p "$FOLDER"/{munge,state,spool,log,pid,node}
  chmod 1777 "$FOLDER/node" # the nodes mount theirs here
  (umask 077 && head -c 1024 /dev/urandom > "$FOLDER/munge/key")
  {
    cat << END
ClusterName=mechsweep
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that was requeued starts again only after the credential's time.
AuthInfo=socket=$FOLDER/munge/socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool/%n
SlurmctldPidFile=$FOLDER/pid/slurmctld.own
SlurmdPidFile=$FOLDER/pid/%n.own
SlurmctldLogFile=$FOLDER/log/slurmctld
SlurmdLogFile=$FOLDER/log/%n
SlurmctldPort=$FIRST_PORT
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=1
SlurmdTimeout=3
MessageTimeout=5
TCPTimeout=1
KillWait=5
MinJobAge=600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
END
    for ((k = 1; k <= nodes; ++k)); do
      printf 'NodeName=n%d NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=%d State=UNKNOWN\n' \
        "$k" "$host" $((FIRST_PORT + k)) "$cpus"
    done
    echo "PartitionName=main Nodes=ALL Default=YES PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE"
    echo "PartitionName=low Nodes=ALL PriorityTier=1 GraceTime=15 MaxTime=INFINITE"
  } > "$CONF"
  printf '127.0.0.1 localhost %s %s\n' "$host" "$(node_names | paste -sd ' ')" > "$FOLDER/hosts"
  echo "PMIxCliTmpDirBase=$FOLDER/node" > "$FOLDER/mpi.conf"
}

start_all() {
  local name
  start_daemon munged munged --foreground --key-file="$FOLDER/munge/key" \
    --socket="$FOLDER/munge/socket" --pid-file="$FOLDER/munge/pid" \
    --log-file="$FOLDER/log/munged" --seed-file="$FOLDER/munge/seed"
  wait_until munged test -S "$FOLDER/munge/socket"
  start_daemon slurmctld slurmctld -D -f "$CONF"
  for name in $(node_names); do
    start_node "$name"
  done
  wait_until slurmctld scontrol ping
  for name in $(node_names); do
    wait_until "$name" is_idle "$name"
  done
}

# start_daemon NAME COMMAND... runs it in the background, with no descriptor of ours. Its process
# number goes to pid/NAME.
start_daemon() {
  local name=$1 descriptor
  shift
  (
    trap - EXIT INT TERM
    for descriptor in /proc/self/fd/*; do
      descriptor=${descriptor##*/}
      ((descriptor <= 2)) || eval "exec $descriptor>&-"
    done
    exec setsid "$@" < /dev/null >> "$FOLDER/log/$name.out" 2>&1
  ) &
  echo $! > "$FOLDER/pid/$name"
}

# Its own process namespace makes the node end as one: when its first process dies, the kernel kills
# the others.
start_node() {
  # shellcheck disable=SC2016 # for the shell inside
  local first='
    set -e
    hostname "$1"
    mount --bind "$2/hosts" /etc/hosts
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    mount -t tmpfs -o mode=1777 tmpfs "$2/node"
    slurmd -D -N "$1" -f "$2/slurm.conf" &
    wait $!'
  mkdir -p "$FOLDER/spool/$1"
  start_daemon "$1" unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc \
    bash -c "$first" "node-$1" "$1" "$FOLDER"
}

# wait_until DAEMON COMMAND... waits for COMMAND to succeed, which shows that DAEMON works.
wait_until() {
  local daemon=$1 end=$((SECONDS + PATIENCE_S))
  shift
  until "$@" > /dev/null 2>&1; do
    if ((SECONDS > end)) || ! is_running "$(< "$FOLDER/pid/$daemon")"; then
      tail -n 8 "$FOLDER/log/$daemon.out" "$FOLDER/log/slurmctld.out" >&2 || true
      scontrol -o show node "$daemon" >&2 || true
      fail 4 "$daemon did not start; the ends of the logs and the node's state are above."
    fi
    sleep 0.1
  done
}

is_idle() { [[ $(sinfo -h -N -n "$1" -p main -o %T) == idle ]]; }
is_down() { [[ $(sinfo -h -N -n "$1" -p main -o %T) == down* ]]; }
takes_jobs() { [[ $(sinfo -h -N -n "$1" -p main -o %T) =~ ^(idle|mixed|allocated)$ ]]; }

# The process number of daemon $1 when it runs; numbers are used again, so its command line is asked.
pid_of() {
  local pid
  pid=$(cat "$FOLDER/pid/$1" 2> /dev/null) || return 1
  grep -qsF "$FOLDER" "/proc/$pid/cmdline" || return 1
  printf '%s\n' "$pid"
}

# All processes of ours, the nodes' included: their process namespaces say so.
kill_node() {
  local pid children
  pid=$(pid_of "$1") || return 0
  read -ra children < "/proc/$pid/task/$pid/children" || true
  if ((${#children[@]})); then
    kill -KILL "${children[@]}" 2> /dev/null || true
  fi
  end_process KILL "$pid"
}

# end_process SIGNAL PID returns when it is gone.
end_process() {
  local end=$((SECONDS + 10))
  kill "-$1" "$2" 2> /dev/null || return 0
  while is_running "$2"; do
    if ((SECONDS > end)); then
      kill -KILL "$2" 2> /dev/null || true
    fi
    sleep 0.02
  done
}

# A zombie waits for its parent only, which need not be us.
is_running() {
  local state
  state=$(sed 's/.*) //' "/proc/$1/stat" 2> /dev/null) || return 1
  [[ -n $state && ${state:0:1} != Z ]]
}

# A job that ended while the node was dead, yet not known to be, would be "completing" there for
# minutes; on a node that slurmctld holds for down nothing is.
resume_node() {
  if ! pid_of "$1" > /dev/null; then
    is_down "$1" || scontrol update NodeName="$1" State=DOWN Reason="lost its power"
    start_node "$1"
  fi
  wait_until "$1" takes_jobs "$1"
}

show_status() {
  local name
  if [[ ! -e $CONF ]]; then
    say "the cluster is not up."
    return 1
  fi
  for name in munged slurmctld $(node_names); do
    if pid_of "$name" > /dev/null; then
      printf '%-10s process %s\n' "$name" "$(pid_of "$name")"
    else
      printf '%-10s not running\n' "$name"
    fi
  done
  sinfo -N -p main
}

down() {
  local file pid
  for file in "$FOLDER"/pid/n[0-9]*; do
    case $file in
      *.own) ;;
      *) kill_node "${file##*/}" ;;
    esac
  done
  for file in slurmctld munged; do
    if pid=$(pid_of "$file"); then
      end_process TERM "$pid"
    fi
  done
  rm -rf "$FOLDER"
}

print_exports() {
  cat << END
export SLURM_CONF=$CONF
export OMPI_MCA_btl=self,tcp,vader OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export OMPI_MCA_orte_tmpdir_base=$FOLDER/node
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
END
}

main "$@"
