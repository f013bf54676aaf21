#!/usr/bin/env bash
# Usage: scripts/check_published.sh MODEL_DIR [--out DIR]
#
# For whoever has the weights: recognises the model by its architecture and sizes, runs what its
# published facts are about, and says which of them hold. MODEL_DIR is a Hugging Face folder, a GGUF
# file, or a folder with one GGUF file. Models that have facts: scripts/published_facts.json.
#
# DIR (results/published by default) keeps the config and the results; a second call goes on from
# there. The program is build/mechsweep; the variable MECHSWEEP names another.
# Exit status: 0 all facts hold, 1 some do not, 2 usage or a model without facts, 3 or 4 as for the
# program (docs/user-guide.md).

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

PROGRAM=${MECHSWEEP:-$ROOT/build/mechsweep}

main() {
  local model='' out=$ROOT/results/published python
  while (($#)); do
    case $1 in
      -h | --help) print_help && exit 0 ;;
      --out) (($# > 1)) || fail 2 "--out needs a folder; see --help." && out=$2 && shift ;;
      -*) fail 2 "unknown argument '$1'; see --help." ;;
      *) [[ -z $model ]] || fail 2 "one model at a time, and '$1' is a second; see --help."
        model=$1 ;;
    esac
    shift
  done
  [[ -n $model ]] || fail 2 "MODEL_DIR is missing; see --help."
  [[ -x $PROGRAM ]] || fail 4 "$PROGRAM is missing; run scripts/build.sh, or set MECHSWEEP."
  python=$(environment_python analysis) || exit
  model=$(find_model "$model") || exit
  check_model "$model" "$out" "$python"
}

# The GGUF file of a folder that holds nothing else to load, else what was given.
find_model() {
  local files=()
  [[ -e $1 ]] || fail 3 "$1 does not exist; give a model's folder or its GGUF file."
  if [[ -d $1 && ! -e $1/config.json ]]; then
    mapfile -t files < <(find "$1" -maxdepth 1 -name '*.gguf' | sort)
    ((${#files[@]} == 1)) \
      || fail 2 "$1 has no config.json and ${#files[@]} GGUF files; name one file."
    realpath "${files[0]}"
  else
    realpath "$1"
  fi
}

check_model() {
  local model=$1 out=$2 facts=("$3" "$ROOT/scripts/published_facts.py") status=0 stem
  mkdir -p "$out" || fail 4 "$out cannot be made; choose another --out."
  "$PROGRAM" inspect "$model" > "$out/inspect.txt" || exit
  stem=$("${facts[@]}" config "$out/inspect.txt" "$model" --out "$out") || exit
  say "running $stem.yaml; its log is $stem.txt."
  "$PROGRAM" run "$stem.yaml" --out "$stem.h5" > "$stem.txt" 2>&1 || status=$?
  if ((status)); then
    tail -n 3 "$stem.txt" >&2
    ((status != 1)) || status=4 # 1 is for facts that do not hold
    fail "$status" "the run ended with status $status; see $stem.txt."
  fi
  "$PROGRAM" reduce "$stem.h5" >> "$stem.txt" 2>&1 \
    || fail 4 "reducing $stem.h5 failed; see $stem.txt."
  "${facts[@]}" compare "$out/inspect.txt" "$stem.summary.h5"
}

main "$@"
