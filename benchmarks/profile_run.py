"""Where the time of `mechsweep run` goes, by symbol and by kind of work, before and after.

    python3 benchmarks/profile_run.py

Samples the program with `perf record`, one rank of one thread, SmolLM2-135M in float32:

  before      head ablation at the target by the naive executor with oneDNN's products: whole
              forward passes with a library's kernels. This is our program told to do without its
              own ways, not an older version of it.
  after       the same task by the wavefront executor with native products: the defaults
  after, x16  the same with 16 times the prompts, so that loading does not hide the computing
  scores      attention scores, the defaults

Needs Linux's perf and leave to use it (`scripts/install_deps.sh --benchmarks`,
kernel.perf_event_paranoid of 1 or less); without, it ends with status 4.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from common import (
    RESULTS,
    ROOT,
    SMOLLM2,
    BenchmarkError,
    busy,
    check_files,
    commit,
    copy_prompts,
    machine,
    machine_lines,
    positive,
    publish,
    repeated_prompts,
    run,
    write_sweep,
)

# Time on a processor, which every machine can sample; virtual ones often lack counters of cycles.
EVENT = "cpu-clock"
SAMPLES_PER_SECOND = 997  # a prime, so that nothing periodic keeps step with it
SYMBOLS = 12
GENERATED = "code that oneDNN generated"

# By library and symbol, the first that fits.
GROUPS = (
    ("kernel", r"^\[kernel|^\[vdso|^\[guest", r""),
    ("start and loading", r"^ld-linux|libcrypto|libyaml|libpcre|libicu", r""),
    ("start and loading", r"", r"OperatorEntry::(?!lookup)|torch::jit|SharedParser|FunctionSchema"),
    ("start and loading", r"", r"AliasInfo|RegisterOperators|Library::|c10::Type|_GLOBAL__sub_I"),
    ("start and loading", r"", r"dequantize|PackedMatrix::PackedMatrix|LibraryLinear::LibraryL"),
    ("start and loading", r"", r"Gguf|Safetensors|ModelLoader|TensorSource|MetadataReader"),
    ("start and loading", r"", r"[Tt]okenizer|BytePair|RandomTensors|RandomStream|read_tokens"),
    ("matrix products", r"^\[JIT|^//anon|^\[anon|^anon_inode", r""),
    ("matrix products", r"", r"multiply|add_in_order|tree_sum|mkl_|sgemm|brgemm_kernel"),
    ("calls of the tensor library", r"", r"dnnl|Xbyak|LibraryLinear|\bat::|c10::"),
    ("calls of the tensor library", r"^libtorch|^libc10|^libgomp|^libmkl", r""),
    ("attention", r"", r"[Aa]ttend|[Aa]ttention|add_products|HeadCache|softmax|KeySegment"),
    ("norms, activation, residual", r"", r"norm_row|activate_row|rotate|add_row|add_sublayer"),
    ("losses", r"", r"sum_both|sum_logits|largest_|Unembed|Readout"),
    ("copying and allocating", r"", r"mem(move|cpy|set|chr)|alloc|free|unlink_chunk|operator new"),
)  # fmt: skip
REST = "rest"


class Unavailable(BenchmarkError):
    """What is needed is not here."""


@dataclass
class Side:
    """One thing that is profiled."""

    name: str
    executor: str
    kernels: str
    prompts: dict
    experiment: dict


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--program", type=Path, default=ROOT / "build/mechsweep")
    parser.add_argument("--model", type=Path, default=SMOLLM2)
    parser.add_argument("--prompts", type=positive, default=4, help="of before and after")
    parser.add_argument("--sequences", type=positive, default=64, help="of the scores")
    parser.add_argument("--layers", help="A..B, both ends included; default: all")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the .md and .json")
    return parser.parse_args()


def sides(arguments):
    heads = {"kind": "head_ablation", "operation": "zero", "positions": "targets"}
    if arguments.layers:
        heads["layers"] = arguments.layers
    scores = ["previous_token", "duplicate_token", "induction"]
    few, many = copy_prompts(arguments.prompts), copy_prompts(16 * arguments.prompts)
    sequences = repeated_prompts(arguments.sequences)
    return [
        Side("before", "naive", "onednn", few, heads),
        Side("after", "wavefront", "native", few, heads),
        Side("after, x16", "wavefront", "native", many, heads),
        Side(
            "scores",
            "wavefront",
            "native",
            sequences,
            {"kind": "attention_scores", "scores": scores},
        ),
    ]


def require_perf(folder):
    if shutil.which("perf") is None:
        raise Unavailable(
            "perf is missing; scripts/install_deps.sh --benchmarks installs it on Debian"
        )
    command = ["perf", "record", "-e", EVENT, "-o", str(folder / "trial.data"), "true"]
    tried = subprocess.run(command, capture_output=True, text=True)
    if tried.returncode != 0:
        said = " ".join(tried.stderr.split())[:200]
        raise Unavailable(
            "perf may not sample programs here; set kernel.perf_event_paranoid to 1 or less, or "
            f"ask whoever runs this machine or container. perf says: {said}"
        )


def shortened(symbol):
    """Without our namespaces, arguments and what templates are made of."""
    symbol = re.sub(r"^\[[.kgHu]\] ", "", symbol)
    symbol = symbol.replace("(anonymous namespace)::", "").replace("mechsweep::", "")
    while (less := re.sub(r"<[^<>]+>|\([^()]*\)", "", symbol)) != symbol:
        symbol = less
    symbol = symbol.replace("<>", "").strip()
    return "(no symbol)" if re.fullmatch(r"0x[0-9a-f]+", symbol) else symbol[:60]


def group_of(library, symbol):
    for name, libraries, symbols in GROUPS:
        if re.search(libraries, library) and re.search(symbols, symbol):
            return name
    return REST


def read_profile(data):
    """Seconds on a processor by (library, shortened symbol, group) and by group, and seconds from
    the first to the last sample."""
    command = ["perf", "report", "-i", data, "--stdio", "--no-children"]
    fields = ["-q", "-F", "period,dso,symbol", "-t", "\t"]
    by_symbol, by_group = defaultdict(float), defaultdict(float)
    for line in run([*command, *fields]).stdout.splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != 3:
            continue
        seconds, library, symbol = int(cells[0]) / 1e9, cells[1], cells[2]
        group = group_of(library, symbol)
        generated = library.startswith("[JIT]")
        place = ("", GENERATED) if generated else (library, shortened(symbol))
        by_symbol[(*place, group)] += seconds
        by_group[group] += seconds
    duration = re.search(
        r"sample duration : +([0-9.]+) ms", run([*command, "--header-only"]).stdout
    )
    if duration is None or not by_symbol:
        raise BenchmarkError(f"`perf report` has no samples of {data}")
    return by_symbol, by_group, float(duration[1]) / 1e3


def measure(arguments, side, folder):
    config, data = folder / "profile.yaml", folder / "perf.data"
    out = folder / f"{side.executor}-{len(list(folder.iterdir()))}.h5"
    execution = {
        "executor": side.executor,
        "kernels": side.kernels,
        "memory_gib": 1.0,
        "threads_per_rank": 1,
    }
    write_sweep(config, arguments.model, side.prompts, side.experiment, execution)
    record = ["perf", "record", "-q", "-e", EVENT, "-F", SAMPLES_PER_SECOND, "-o", data, "--"]
    run([*record, arguments.program, "run", config, "--out", out])
    by_symbol, by_group, wall_s = read_profile(data)
    names = dict.fromkeys(name for name, _, _ in GROUPS)
    return {
        "name": side.name,
        "executor": side.executor,
        "kernels": side.kernels,
        "prompts": side.prompts["count"],
        "wall_s": wall_s,
        "cpu_s": sum(by_group.values()),
        "groups": {name: by_group[name] for name in (*names, REST)},
        "symbols": [
            {"library": library, "symbol": symbol, "group": group, "cpu_s": seconds}
            for (library, symbol, group), seconds in sorted(
                by_symbol.items(), key=lambda one: -one[1]
            )
        ][:50],
    }


def share(seconds, profile):
    return f"{100 * seconds / profile['cpu_s']:.1f} %"


def summary_lines(profiles):
    """What kinds of work there are on each side."""
    rows = {
        "": [one["name"] for one in profiles],
        "---": ["---"] * len(profiles),
        "executor, kernels": [f"{one['executor']}, {one['kernels']}" for one in profiles],
        "prompts": [str(one["prompts"]) for one in profiles],
        "seconds, first to last sample": [f"{one['wall_s']:.2f}" for one in profiles],
        "seconds on a processor": [f"{one['cpu_s']:.2f}" for one in profiles],
    }
    for group in profiles[0]["groups"]:
        rows[group] = [
            f"{share(one['groups'][group], one)} ({one['groups'][group]:.2f} s)" for one in profiles
        ]
    return [f"| {' | '.join([name, *row])} |" for name, row in rows.items()]


def report(record):
    versions, profiles = record["versions"], record["profiles"]
    lines = [
        "# Where the time goes",
        "",
        "Made by `benchmarks/profile_run.py`; benchmarks/README.md says how to read it.",
        "",
        *machine_lines(record["machine"]),
        f"- Versions: mechsweep {versions['mechsweep']} (commit {versions['commit']}), "
        f"{versions['perf']}",
        f"- {record['model']}, float32, one rank of one thread; {SAMPLES_PER_SECOND} samples of "
        f"{EVENT} a second",
        "- *before*: the naive executor with a library's products (whole forward passes, oneDNN); "
        "*after*: the defaults, on the same task. *before* is not an older version.",
        f"- Task: the z of each head zeroed at the target (layers: {record['layers']}), prompts of "
        "36 tokens; *scores*: three attention scores, prompts of 64 tokens",
        "",
        *summary_lines(profiles),
    ]
    for one in profiles:
        lines += [
            "",
            f"## {one['name']}: {one['executor']}, {one['kernels']}",
            "",
            "| share | symbol | library | group |",
            "| --- | --- | --- | --- |",
        ]
        for row in one["symbols"][:SYMBOLS]:
            cells = [share(row["cpu_s"], one), f"`{row['symbol']}`", row["library"], row["group"]]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main():
    arguments = parse_arguments()
    described = machine()
    check_files(arguments.program, arguments.model)
    if busy(described):
        print("warning: this machine is busy; the times will mean nothing", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="mechsweep-benchmark-") as name:
        folder = Path(name)
        require_perf(folder)
        profiles = []
        for side in sides(arguments):
            profiles.append(measure(arguments, side, folder))
            print(f"{side.name}: {profiles[-1]['wall_s']:.1f} s", file=sys.stderr)
    record = {
        "made_by": "benchmarks/profile_run.py",
        "machine": described,
        "versions": {
            "mechsweep": run([arguments.program, "--version"]).stdout.strip(),
            "commit": commit(),
            "perf": run(["perf", "--version"]).stdout.strip(),
        },
        "model": arguments.model.name,
        "layers": arguments.layers or "all",
        "samples_per_second": SAMPLES_PER_SECOND,
        "event": EVENT,
        "profiles": profiles,
    }
    publish(arguments.out, "profile", report(record), record)


if __name__ == "__main__":
    try:
        main()
    except Unavailable as error:
        print(f"profile_run: {error}", file=sys.stderr)
        sys.exit(4)
    except BenchmarkError as error:
        sys.exit(f"profile_run: {error}")
