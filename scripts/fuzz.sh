#!/usr/bin/env bash
# Usage: scripts/fuzz.sh [--seconds N] [--jobs N] [--minimise] [READER...]
#
# Builds the fuzz program of tests/fuzz/ with clang and libFuzzer in build-fuzz/, and lets it change
# files for every reader of other people's bytes, or for the named ones (tests/fuzz/README.md). Each
# starts from the seeds that tests/fuzz/make_seeds.py writes, from tests/fuzz/corpus/ and from
# tests/fuzz/regressions/; what a run adds to the corpus stays in build-fuzz/corpus/.
#
#   --seconds N   time for each reader (60)
#   --jobs N      readers at a time (1)
#   --minimise    afterwards choose the smallest files that cover what the corpus covers, and write
#                 those that are not seeds to tests/fuzz/corpus/
#   --help        this text
#
# Ends with a line for each reader: files tried, how many were accepted and refused, branches
# covered, findings. A finding's file is in build-fuzz/findings/. FUZZ_BUILD names another folder
# instead of build-fuzz/, FUZZ_CXX another clang++; it must be 16 or newer. Exit status: 0 nothing
# found, 1 findings, 2 usage, 4 the build failed, 77 clang or its runtime is missing.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

BUILD=${FUZZ_BUILD:-$ROOT/build-fuzz}
FUZZ=$ROOT/tests/fuzz

# Small files must not make a reader ask for much memory.
LIMITS=(-malloc_limit_mb=64 -rss_limit_mb=1024 -timeout=10 -max_len=65536)

main() {
  local seconds=60 jobs=1 minimise=false readers=()
  while (($#)); do
    case $1 in
      --seconds) seconds=${2:-} && shift ;;
      --jobs) jobs=${2:-} && shift ;;
      --minimise) minimise=true ;;
      -h | --help) print_help && exit 0 ;;
      -*) fail 2 "unknown argument '$1'; see --help." ;;
      *) readers+=("$1") ;;
    esac
    shift || fail 2 "a number is missing; see --help."
  done
  [[ $seconds =~ ^[1-9][0-9]*$ && $jobs =~ ^[1-9][0-9]*$ ]] \
    || fail 2 "--seconds and --jobs want whole numbers above 0."
  build
  mapfile -t known < <("$BUILD/fuzz_readers" 2>&1 | sed 's/^[^:]*: *//' | tr ' ' '\n')
  if ((${#readers[@]} == 0)); then
    readers=("${known[@]}")
  fi
  check_known "${readers[@]}"

  rm -rf "$BUILD/seeds" "$BUILD/findings"
  mkdir -p "$BUILD/findings"
  "$(find_python)" -B "$FUZZ/make_seeds.py" "$BUILD/seeds" "${readers[@]}"
  # Files that live for a millisecond are better kept in memory.
  local scratch=${TMPDIR:-/tmp}
  if [[ -z ${TMPDIR:-} && -w /dev/shm ]]; then
    scratch=/dev/shm
  fi
  TMPDIR=$(mktemp -d -p "$scratch" mechsweep-fuzz-run.XXXXXX)
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
  say "fuzzing for $seconds s each: ${readers[*]}"
  local reader
  for reader in "${readers[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do
      wait -n || true
    done
    fuzz_one "$reader" "$seconds" &
  done
  wait
  if $minimise; then
    mkdir -p "$FUZZ/corpus"
    for reader in "${readers[@]}"; do
      minimise_corpus "$reader"
    done
  fi
  report "${readers[@]}"
}

build() {
  local cxx=${FUZZ_CXX:-} candidate
  for candidate in clang++-{19,18,17,16}; do
    cxx=${cxx:-$(command -v "$candidate" || true)}
  done
  if [[ -z $cxx ]] || ! [[ -e $("$cxx" -print-runtime-dir)/libclang_rt.fuzzer-x86_64.a ||
    -e $("$cxx" -print-runtime-dir)/libclang_rt.fuzzer.a ]]; then
    say "clang 16 or newer with its runtime libraries is missing; run scripts/install_deps.sh --tests."
    exit 77
  fi
  prepare_ccache
  if [[ ! -e $BUILD/build.ninja ]]; then
    CC=${cxx/clang++/clang} CXX=$cxx cmake -G Ninja -S "$FUZZ" -B "$BUILD" > /dev/null
  fi
  cmake --build "$BUILD" --parallel "$(nproc)" || fail 4 "the fuzz program could not be built."
}

check_known() {
  local reader
  for reader in "$@"; do
    [[ " ${known[*]} " == *" $reader "* ]] || fail 2 "no reader '$reader'; there are: ${known[*]}."
  done
}

# The corpus that grows comes first: libFuzzer writes there.
fuzz_one() {
  local reader=$1 seconds=$2 folder status=0 folders=()
  local log=$BUILD/findings/$reader.log
  mkdir -p "$BUILD/corpus/$reader"
  for folder in "$BUILD/corpus/$reader" "$BUILD/seeds/$reader" "$FUZZ/corpus/$reader" \
    "$FUZZ/regressions/$reader"; do
    if [[ -d $folder ]]; then
      folders+=("$folder")
    fi
  done
  # Seeds in their full length first: the fuzzer cuts them at -max_len.
  find "${folders[@]:1}" -type f -print0 | sort -z \
    | xargs -0 "$BUILD/fuzz_readers" --reader="$reader" "${LIMITS[@]}" \
      "-artifact_prefix=$BUILD/findings/$reader-" > "$log" 2>&1 || status=$?
  if ((status == 0)); then
    "$BUILD/fuzz_readers" --reader="$reader" "${LIMITS[@]}" -max_total_time="$seconds" \
      -print_final_stats=1 -print_funcs=0 -use_value_profile=1 "-artifact_prefix=$BUILD/findings/$reader-" \
      "${folders[@]}" >> "$log" 2>&1 || status=$?
  fi
  echo "$status" > "$BUILD/findings/$reader.status"
}

# What seeds cover needs no file, and large files are left to runs to find again.
minimise_corpus() {
  local reader=$1 small found
  small=$(mktemp -d -p "$BUILD")
  found=$(mktemp -d -p "$BUILD")
  cp "$BUILD/seeds/$reader"/* "$small/"
  find "$BUILD/corpus/$reader" "$FUZZ/corpus/$reader" -type f -size -600c \
    -exec cp -t "$found" {} + 2> /dev/null || true
  "$BUILD/fuzz_readers" --reader="$reader" "${LIMITS[@]}" -set_cover_merge=1 -use_counters=0 \
    "$small" "$found" >> "$BUILD/findings/$reader.log" 2>&1
  (cd "$BUILD/seeds/$reader" && find . -type f -print0) | (cd "$small" && xargs -0 rm -f)
  rm -rf "$FUZZ/corpus/$reader" "$found"
  chmod 755 "$small"
  mv "$small" "$FUZZ/corpus/$reader"
}

report() {
  local reader status log found=0
  printf '%-14s %10s %10s %10s %8s  %s\n' reader tried accepted refused branches findings
  for reader in "$@"; do
    log=$BUILD/findings/$reader.log
    status=$(< "$BUILD/findings/$reader.status")
    local tried accepted refused branches finding=none
    tried=$(awk '/^stat::number_of_executed_units/ {print $2}' "$log")
    branches=$(grep -aoE 'cov: [0-9]+' "$log" | tail -1 | cut -d' ' -f2 || true)
    read -r accepted refused < <(awk -v name="$reader:" \
      '$1 == "outcome:" && $2 == name {a = $3; r = $5} END {print a + 0, r + 0}' "$log")
    if ((status != 0)); then
      finding=$(grep -aE '^FINDING|ERROR: |runtime error' "$log" | head -1 || true)
      finding=${finding:-"see $log"}
      found=1
    fi
    printf '%-14s %10s %10s %10s %8s  %s\n' "$reader" "${tried:--}" "$accepted" "$refused" \
      "${branches:--}" "$finding"
  done
  if ((found)); then
    say "findings; their files are in $BUILD/findings/."
    exit 1
  fi
  say "nothing found."
}

main "$@"
