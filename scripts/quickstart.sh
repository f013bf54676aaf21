#!/usr/bin/env bash
# Usage: scripts/quickstart.sh
#
# From nothing to figures: installs what is needed, builds, fetches the default model (98 MB), runs
# configs/quickstart.yaml on two ranks, reduces it and draws the report, all below
# results/quickstart/. Safe to run again; what is there is kept, and an interrupted sweep goes on.
# How long each step took is in results/quickstart/times.txt.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

OUT=results/quickstart
FILE=$OUT/quickstart.h5

main() {
  case ${1:-} in
    '') ;;
    -h | --help) print_help && exit 0 ;;
    *) fail 2 "unknown argument '$1'; see --help." ;;
  esac
  cd "$ROOT"
  mkdir -p "$OUT"
  : > "$OUT/times.txt"
  step "installing dependencies" scripts/install_deps.sh
  step "building" scripts/build.sh --no-tests
  step "fetching the model" scripts/fetch_model.sh smollm2-135m
  step "running the sweep on 2 ranks" \
    run_ranks 2 build/mechsweep run configs/quickstart.yaml --out "$FILE"
  step "reducing" build/mechsweep reduce "$FILE"
  step "drawing the report" draw_report
  print_strongest_induction_heads
  say "the report is $OUT/report/index.html; times are in $OUT/times.txt."
}

# step WHAT COMMAND... runs one step, says so, and notes its time.
step() {
  local what=$1 start=$SECONDS status=0
  shift
  say "$what"
  "$@" || status=$?
  printf '%6d s  %s\n' $((SECONDS - start)) "$what" >> "$OUT/times.txt"
  ((status == 0)) || fail "$status" "$what ended with status $status; see above."
}

draw_report() {
  local python
  python=$(environment_python analysis) || return
  # It names every file that it writes; here the page is enough.
  PYTHONPATH=$ROOT/analysis "$python" -m mechsweep_analysis "$FILE" --out "$OUT/report" \
    > "$OUT/report.log"
}

# The heads whose mean induction score over the prompts is highest, from the tidy CSV of `export`.
# Columns are found by name, because some experiments add their own.
print_strongest_induction_heads() {
  say "the five strongest induction heads (mean attention to the token after the earlier copy):"
  build/mechsweep export "${FILE%.h5}.summary.h5" --run scores/smollm2-135m/repeat | awk -F, '
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    $column["metric"] == "induction.mean" {
      printf "%.3f  L%sH%s\n", $column["value"], $column["layer"], $column["head"]
    }
  ' | sort -rn | awk 'NR <= 5 { printf "  %-7s %s\n", $2, $1 }'
}

main "$@"
