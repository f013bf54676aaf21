#!/usr/bin/env bash
# Usage: scripts/tidy.sh [--all] [FILE...]
#
# Runs clang-tidy with .clang-tidy over the sources that were configured in build/ and do not
# include LibTorch, or over the named ones.
#
#   --all    also those that include LibTorch, which take about half a minute each
#   --help   this text
#
# CLANG_TIDY names another clang-tidy; it must be 16 or newer. Exit status: 0 clean, 1 findings,
# 2 usage, 4 something is missing.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
  local argument python tidy files=()
  for argument in "$@"; do
    case $argument in
      -h | --help) print_help && exit 0 ;;
      --all) ;;
      -*) fail 2 "unknown argument '$argument'; see --help." ;;
      *) [[ -r $argument ]] || fail 2 "$argument cannot be read." ;;
    esac
  done
  tidy=${CLANG_TIDY:-$(command -v clang-tidy-16 || command -v clang-tidy || true)}
  [[ -n $tidy ]] || fail 4 "clang-tidy is missing; run scripts/install_deps.sh --tests."
  [[ -e $ROOT/build/compile_commands.json ]] \
    || fail 4 "build/ is not configured; run scripts/build.sh --tests."
  python=$(find_python)
  # In $ROOT the names that tidy_database.py prints are right.
  mapfile -t files < <("$python" "$ROOT/scripts/tidy_database.py" "$ROOT/build" \
    "$ROOT/build/tidy" "$@")
  ((${#files[@]})) || fail 2 "no configured source was named."
  cd "$ROOT"
  say "checking ${#files[@]} files with $tidy"
  export -f check_file
  export tidy
  if printf '%s\0' "${files[@]}" \
    | xargs -0 -n 1 -P "$(nproc)" bash -c 'check_file "$@"' check_file; then
    say "clean."
  else
    fail 1 "there are findings; see above."
  fi
}

# Output of one file in one piece, without the counts of warnings in other people's headers.
check_file() {
  local output status=0
  output=$("$tidy" --quiet -p build/tidy "$1" 2>&1) || status=$?
  if ((status)); then
    grep -Ev '^[0-9]+ (warning|error)s?( and [0-9]+ errors?)? generated|^Suppressed' <<< "$output"
  fi
  return "$status"
}

main "$@"
