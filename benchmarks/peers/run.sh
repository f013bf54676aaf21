#!/usr/bin/env bash
# Usage: benchmarks/peers/run.sh [--quick] [OPTION...]
#
# Measures mechsweep beside transformers, TransformerLens, nnsight and pyvene on this machine, in one
# run, and writes benchmarks/results/peers.md, .json, .png and .svg. About 20 minutes, with --quick 3.
# Sets up the peers' own Python environment (.deps/peers, about 6 GB, from scripts/envs/peers.txt)
# when it is not there. Before it: scripts/build.sh and scripts/fetch_model.sh smollm2-135m.
#
#   --setup-only   only the environment
#   --help         the options of the measurement

source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

requirements=$ROOT/scripts/envs/peers.txt
folder=$DEPS/peers
stamp=$folder/.requirements.sha256

set_up() {
  local wanted python
  wanted=$(sha256sum < "$requirements")
  if [[ -e $stamp && $(< "$stamp") == "$wanted" ]]; then
    return
  fi
  say "installing the Python environment $folder"
  rm -f "$stamp"
  if ! "$folder/bin/python" -c 'import pip' 2> /dev/null; then
    python=$(find_python)
    "$python" -m venv --clear "$folder"
  fi
  PIP_ROOT_USER_ACTION=ignore "$folder/bin/python" -m pip install --quiet \
    --disable-pip-version-check --no-input -r "$requirements" < /dev/null
  printf '%s\n' "$wanted" > "$stamp"
}

measure() {
  local python
  python=$(environment_python analysis)
  # The peers must not look for a network, nor send anything.
  export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 WANDB_MODE=disabled TOKENIZERS_PARALLELISM=false
  export PYTHONPATH=$ROOT/benchmarks PYTHONDONTWRITEBYTECODE=1
  exec "$python" "$ROOT/benchmarks/peers/run.py" --peer-python "$folder/bin/python" "$@"
}

case ${1:-} in
  --setup-only) set_up ;;
  -h | --help) print_help && measure --help ;;
  *) set_up && measure "$@" ;;
esac
