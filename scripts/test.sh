#!/usr/bin/env bash
# Usage: scripts/test.sh [--fast | --no-gemma]
#
# From nothing to tested: installs what is needed, builds with the tests, fetches the default model
# and Gemma 3 270M, and runs every check and test (docs/testing.md). A failed check does not stop the
# later ones; a failed build does. Ends with the time of each step and the list of those that failed.
#
#   --fast       only the checks and the unit tests, for use while editing
#   --no-gemma   does not fetch Gemma 3 270M (253 MB, under the Gemma terms of use, see
#                scripts/fetch_model.sh --help); where it is not there, the tests that need it are
#                skipped by name
#   --help       this text
#
# Needs no terminal, no home folder and no root; tests that want more are skipped and say so.
# Exit status: 0 all passed, 1 some failed, 2 usage, 4 something is missing.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

times=()
failed=()
skipped=()

main() {
  local fast=false gemma=true
  case ${1:-} in
    '') ;;
    --fast) fast=true ;;
    --no-gemma) gemma=false ;;
    -h | --help) print_help && exit 0 ;;
    *) fail 2 "unknown argument '$1'; see --help." ;;
  esac
  cd "$ROOT"
  exec < /dev/null
  prepare_mpi
  # Tests start more ranks than a small machine has cores.
  export OMPI_MCA_rmaps_base_oversubscribe=1

  trap report EXIT
  essential dependencies scripts/install_deps.sh --tests
  # Before the build, so that a slip shows in seconds.
  check "layers" python_of analysis scripts/check_layers.py
  check "paths in docs" python_of analysis scripts/check_docs.py
  check "C++ format" check_format
  check "Python lint" python_of analysis -m ruff check --no-cache .
  check "Python format" python_of analysis -m ruff format --no-cache --check .
  check "shell lint" check_shell
  essential build scripts/build.sh --tests
  if ! $fast; then
    essential model scripts/fetch_model.sh smollm2-135m
    if $gemma; then
      check "Gemma 3 270M" optional_model gemma3-270m
    fi
  fi
  check "unit tests" run_ctest --no-tests=error --label-regex '^unit$'
  check "script tests" run_pytest tests/scripts
  if $fast; then
    return
  fi
  check "analysis tests" run_pytest tests/analysis
  check "system tests" run_system
  check "other tests" run_ctest --no-tests=ignore --label-exclude '^unit$'
  check "fuzz (one minute)" run_fuzz
}

# check NAME COMMAND... notes a failure and goes on. A command that returns 77 was skipped.
check() {
  local name=$1 start=$SECONDS status=0
  shift
  say "--- $name"
  "$@" || status=$?
  times+=("$(printf '%6d s  %s' $((SECONDS - start)) "$name")")
  case $status in
    0) ;;
    77) skipped+=("$name") ;;
    *) failed+=("$name") ;;
  esac
  return 0
}

# What has to work for the rest to make sense.
essential() {
  local before=${#failed[@]}
  check "$@"
  if ((${#failed[@]} > before)); then
    exit 4
  fi
}

# A model that only some tests need: they are skipped where it cannot be downloaded.
optional_model() {
  local status=0
  scripts/fetch_model.sh "$1" || status=$?
  if ((status == 4)); then
    return 77
  fi
  return "$status"
}

python_of() {
  local python
  python=$(environment_python "$1") || return
  shift
  "$python" "$@"
}

check_format() {
  command -v clang-format > /dev/null || return 77
  find src mpi tests \( -name '*.h' -o -name '*.cpp' \) -print0 \
    | xargs -0 --no-run-if-empty clang-format --dry-run -Werror
}

check_shell() {
  command -v shellcheck > /dev/null || return 77
  find scripts slurm .ci -type f \( -name '*.sh' -o -name run \) -print0 | xargs -0 shellcheck
}

# Tests that use several cores say so to ctest (PROCESSORS), which then starts fewer.
run_ctest() {
  ctest --test-dir build --output-on-failure --parallel "$(nproc)" "$@"
}

# Eight readers, two at a time.
run_fuzz() {
  scripts/fuzz.sh --seconds 15 --jobs 2
}

# The program as a user runs it.
run_system() {
  MECHSWEEP=$ROOT/build/mechsweep run_pytest tests/system
}

run_pytest() {
  # The analysis package is used from the checkout; caches would litter it.
  PYTHONPATH=$ROOT/analysis PYTHONDONTWRITEBYTECODE=1 \
    python_of analysis -m pytest -q -rs -p no:cacheprovider "$@"
}

report() {
  local status=$?
  trap - EXIT
  printf '\n'
  say "time of each step:"
  printf '%s\n' "${times[@]}"
  if ((${#skipped[@]})); then
    say "skipped, because a tool or a download is missing: $(join "${skipped[@]}")"
  fi
  if ((${#failed[@]})); then
    say "FAILED: $(join "${failed[@]}")"
    exit $((status ? status : 1))
  fi
  if ((status == 0)); then
    say "all passed."
  fi
  exit "$status"
}

join() {
  local out
  printf -v out '%s, ' "$@"
  printf '%s\n' "${out%, }"
}

main "$@"
