#!/usr/bin/env bash
# Usage: scripts/build.sh [--cuda] [--debug] [--tests | --no-tests]
#
# Configures and builds into build/; the program is build/mechsweep.
#
#   --cuda       with the CUDA and NCCL backends (needs the CUDA toolkit)
#   --debug      debug symbols and no optimisation, instead of an optimised build
#   --tests      the tests as well
#   --no-tests   only the program (the default)
#   --help       this text
#
# scripts/install_deps.sh comes first. CMAKE_BUILD_PARALLEL_LEVEL sets the number of compilers that
# run at once; without it, as many as cores and memory allow. LIBTORCH_DIR names another LibTorch.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
  local cuda=OFF preset=release type=Release tests=OFF target=mechsweep
  while (($#)); do
    case $1 in
      --cuda) cuda=ON ;;
      --debug) preset=debug type=Debug ;;
      --tests) tests=ON target=all ;;
      --no-tests) tests=OFF target=mechsweep ;;
      -h | --help) print_help && exit 0 ;;
      *) fail 2 "unknown argument '$1'; see --help." ;;
    esac
    shift
  done
  prepare_ccache
  configure "$preset" "$type" "$cuda" "$tests"
  local jobs
  jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(parallel_jobs)}
  say "building $target with $jobs jobs"
  cmake --build "$ROOT/build" --target "$target" --parallel "$jobs"
}

# Configures when the options differ from last time. When they do not, ninja itself configures
# again if a CMake file or the list of sources changed.
configure() {
  local preset=$1 type=$2 cuda=$3 tests=$4 libtorch stamp=$ROOT/build/.configured_with options
  libtorch=$(find_libtorch)
  # A build folder that has the tests keeps them: turning them off would only configure again.
  if [[ $tests == OFF ]] && grep -qs 'MECHSWEEP_TESTS=ON' "$stamp"; then
    tests=ON
  fi
  options=(--preset "$preset" -B "$ROOT/build" "-DCMAKE_BUILD_TYPE=$type"
    "-DLIBTORCH_DIR=$libtorch" "-DMECHSWEEP_CUDA=$cuda" "-DMECHSWEEP_TESTS=$tests")
  if [[ -e $ROOT/build/build.ninja && -e $stamp && $(< "$stamp") == "${options[*]}" ]]; then
    return
  fi
  say "configuring build/ (${type}, CUDA ${cuda}, tests ${tests}, LibTorch in ${libtorch})"
  rm -f "$stamp"
  # What CMake found of another LibTorch would outlive the change of LIBTORCH_DIR.
  (cd "$ROOT" && cmake "${options[@]}" -U 'LIBTORCH_*_LIBRARY' -U LIBTORCH_INCLUDE_DIR)
  printf '%s\n' "${options[*]}" > "$stamp"
}

# A compiler that reads LibTorch's headers takes up to 2 GiB.
parallel_jobs() {
  local cores memory_gib jobs
  cores=$(nproc)
  memory_gib=$(awk '/^MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
  jobs=$((memory_gib / 2 < cores ? memory_gib / 2 : cores))
  echo $((jobs > 0 ? jobs : 1))
}

main "$@"
