#!/usr/bin/env bash
# Usage: scripts/install_deps.sh [--tests] [--references] [--benchmarks]
#
# Installs what mechsweep is built from and runs with, and nothing that is there already:
#   - Debian packages (as root or with passwordless sudo; otherwise the missing ones are named);
#   - Python environments in .deps/ of the checkout, or in MECHSWEEP_DEPS_DIR:
#     libtorch (the C++ libraries of the wheel) and analysis (figures).
#
#   --tests        also the packages that only the tests need; those are optional without root
#   --references   also the environment of the reference programs (about 5 GB), which the golden
#                  files and the benchmarks against other tools are made with
#   --benchmarks   also the packages that only kernels.py and profile_run.py of benchmarks/ need;
#                  optional without root
#   --help         this text
#
# Running it again is quick and needs no network. Exit status: 0, 2 usage, 4 packages are missing.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

packages=(libopenmpi-dev openmpi-bin libhdf5-openmpi-dev hdf5-tools libyaml-cpp-dev libspdlog-dev
  libfmt-dev libgtest-dev libgmock-dev libcli11-dev nlohmann-json3-dev libpcre2-dev libicu-dev
  libssl-dev pkg-config g++ cmake ninja-build ccache git unzip python3 python3-venv)
# The 14 of clang and clang-tidy, Debian 12's default, knows no std::source_location.
test_packages=(clang-format clang-tidy-16 clang-16 libclang-rt-16-dev slurm-wlm munge iproute2)
benchmark_packages=(libbenchmark-dev linux-perf)

main() {
  local references=false extra=()
  while (($#)); do
    case $1 in
      --tests) extra+=("${test_packages[@]}") ;;
      --benchmarks) extra+=("${benchmark_packages[@]}") ;;
      --references) references=true ;;
      -h | --help) print_help && exit 0 ;;
      *) fail 2 "unknown argument '$1'; see --help." ;;
    esac
    shift
  done

  if command -v dpkg-query > /dev/null; then
    install_packages "${extra[@]}"
  else
    say "this is not a Debian system, which is untried; these packages or their like are needed:" \
      "${packages[*]}."
  fi

  make_environment libtorch --no-deps
  check_libtorch
  make_environment analysis
  if $references; then
    make_environment references
  fi
  say "everything is in place."
}

# Prints those of "$@" that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    if [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2> /dev/null) != installed ]]; then
      printf '%s\n' "$name"
    fi
  done
}

# install_packages OPTIONAL_PACKAGE...
install_packages() {
  local missing=() optional=() as_root=()
  mapfile -t missing < <(missing_packages "${packages[@]}")
  mapfile -t optional < <(missing_packages "$@")
  local all=("${missing[@]}" "${optional[@]}")
  if ((${#all[@]} == 0)); then
    return
  fi

  if [[ $(id -u) != 0 ]]; then
    if command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
      as_root=(sudo -n)
    elif ((${#missing[@]})); then
      fail 4 "these packages are missing and need an administrator:" \
        "sudo apt-get install ${all[*]}"
    else
      say "going on without ${optional[*]}, which only some tests or benchmarks need; an" \
        "administrator can add them with: sudo apt-get install ${optional[*]}"
      return
    fi
  fi
  say "installing Debian packages: ${all[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${all[@]}" > /dev/null
}

# make_environment NAME [PIP_OPTION...] brings $DEPS/NAME to scripts/envs/NAME.txt.
make_environment() {
  local name=$1 folder=$DEPS/$1 requirements=$ROOT/scripts/envs/$1.txt stamp wanted python
  shift
  [[ -e $requirements ]] || fail 4 "$requirements is missing from this checkout."
  stamp=$folder/.requirements.sha256
  wanted=$(sha256sum < "$requirements")
  if is_current; then
    return
  fi
  # Checkouts that share a folder take turns. Waiting is right: the other one does our work.
  lock_folder
  if is_current; then
    return
  fi
  say "installing the Python environment $folder"
  rm -f "$stamp"
  if ! works "$folder"; then
    python=$(find_python)
    "$python" -m venv --clear "$folder"
  fi
  PIP_ROOT_USER_ACTION=ignore "$folder/bin/python" -m pip install --quiet \
    --disable-pip-version-check --no-input "$@" -r "$requirements" < /dev/null
  printf '%s\n' "$wanted" > "$stamp"
}

# Uses make_environment's variables.
is_current() { [[ -e $stamp && $(< "$stamp") == "$wanted" ]] && works "$folder"; }

# Held until the script ends. Taking it twice would wait for ourselves.
lock=''
lock_folder() {
  [[ -z $lock ]] || return 0
  mkdir -p "$DEPS" 2> /dev/null || true
  [[ -w $DEPS ]] || fail 4 "$DEPS cannot be written; set MECHSWEEP_DEPS_DIR to a folder that can."
  exec {lock}> "$DEPS/.lock"
  flock "$lock"
}

works() { "$1/bin/python" -c 'import pip' 2> /dev/null; }

# The wheel's CPU library asks for two CUDA libraries even where there is no GPU; a missing one
# would show only when the program is linked.
check_libtorch() {
  local folder unresolved
  folder=$(find_libtorch)
  unresolved=$(ldd "$folder/lib/libtorch_cpu.so" | awk '/not found/ {print $1}' | sort -u | paste -sd ' ')
  if [[ -n $unresolved ]]; then
    fail 4 "$folder/lib/libtorch_cpu.so lacks $unresolved; check scripts/envs/libtorch.txt."
  fi
}

main "$@"
