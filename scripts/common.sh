# shellcheck shell=bash
# Shared by the scripts beside it: `source` it, do not run it. Sets ROOT (the checkout) and DEPS
# (where the Python environments live) and defines the functions below.

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Several checkouts can share one set of environments by naming a folder for them.
DEPS="$(realpath -m "${MECHSWEEP_DEPS_DIR:-$ROOT/.deps}")"

# Exit statuses are those of the program (docs/user-guide.md): 2 usage, 4 something is missing.
# `say` and `fail` start with the script's name, so that nested scripts can be told apart.
say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*"; }
fail() {
  local status=$1
  shift
  printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
  exit "$status"
}

# Prints the comment block that opens the calling script; that block is its --help.
print_help() { sed -n '2,/^[^#]/{/^#/!q;s/^# \{0,1\}//;p}' "$0"; }

# A Python that can make virtual environments. The system's comes first: the environments must not
# break when somebody's own Python moves.
find_python() {
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' \
        2> /dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail 4 "no Python 3.10 or newer with venv was found; install python3-venv."
}

# The Python of environment $1 (libtorch, analysis, references).
environment_python() {
  local python="$DEPS/$1/bin/python"
  [[ -x $python ]] || fail 4 "the environment $DEPS/$1 is missing; run scripts/install_deps.sh."
  printf '%s\n' "$python"
}

# The folder that holds LibTorch's include/ and lib/. LIBTORCH_DIR, when set, wins.
find_libtorch() {
  local folder
  for folder in "${LIBTORCH_DIR:-}" "$DEPS"/libtorch/lib/python3*/site-packages/torch; do
    if [[ -n $folder && -e $folder/lib/libtorch_cpu.so ]]; then
      printf '%s\n' "$folder"
      return
    fi
  done
  fail 4 "LibTorch was not found in $DEPS/libtorch; run scripts/install_deps.sh, or set LIBTORCH_DIR."
}

prepare_ccache() {
  # Lets another checkout of the same sources, and files behind a precompiled header, hit the cache.
  export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$ROOT}
  export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}
  if [[ -z ${CCACHE_DIR:-}${XDG_CACHE_HOME:-} && ! -w ${HOME:-/nonexistent} ]]; then
    export CCACHE_DISABLE=1 # nowhere to keep a cache; ccache would fail the build
  fi
}

# Open MPI refuses root unless told twice, and refuses more ranks than cores; both are usual in
# containers, where the scripts are often run.
prepare_mpi() {
  if [[ $(id -u) == 0 ]]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
}

# Runs "$@" on $1 ranks.
run_ranks() {
  local ranks=$1 options=()
  shift
  prepare_mpi
  if (($(nproc) < ranks)); then
    options+=(--oversubscribe)
  fi
  mpirun -n "$ranks" "${options[@]}" "$@"
}
