"""What the benchmarks share: running the program, describing the machine, summing up rounds."""

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMOLLM2 = ROOT / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"
RESULTS = ROOT / "benchmarks/results"
LOADED = re.compile(r"loaded model '.*' in ([0-9.]+) s")
BUSY_LOAD_PER_CORE = 0.25


class BenchmarkError(Exception):
    """Why there is no result: one sentence."""


@dataclass
class Finished:
    """A program that ran to its end."""

    stdout: str
    stderr: str
    wall_s: float
    peak_bytes: int  # of the process that was started, not of its children


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def layer_range(text):
    """The layers of `a..b`, both ends included."""
    found = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError("must look like 0..3, both ends included")
    return range(int(found[1]), int(found[2]) + 1)


def add_common_options(parser):
    parser.add_argument("--program", type=Path, default=ROOT / "build/mechsweep")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the .md and .json")


def copy_prompts(count, noise=32):
    """An entry of a config's `prompts`: A B, letters, A; the answer is B. `noise` + 4 tokens."""
    shape = {"noise": noise, "noise_pool": "letters", "letter_form": " A", "prefix": 0}
    return {"id": "copy", "kind": "ab_noise_a", "count": count, **shape}


def repeated_prompts(count, period=32):
    """An entry of a config's `prompts`: random tokens, twice."""
    shape = {"period": period, "repeats": 2, "prefix": "none"}
    return {"id": "repeat", "kind": "repeated_random", "count": count, **shape}


def write_sweep(file, model, prompts, experiment, execution):
    """Writes a config of one experiment on one model, float32, and one prompt set."""
    entry = {"id": "model", "path": str(model.resolve()), "dtype": "float32"}
    config = {
        "name": file.stem,
        "seed": 42,
        "models": [entry],
        "prompts": [prompts],
        "experiments": [{"id": "task", **experiment}],
        "execution": execution,
    }
    file.write_text(json.dumps(config, indent=2), encoding="utf-8")  # JSON is YAML


def check_files(*paths):
    for path in paths:
        if not path.is_file():
            raise BenchmarkError(
                f"{path} is missing; scripts/build.sh makes the program, scripts/fetch_model.sh "
                "fetches models, and options name other places"
            )


def run(command):
    """Runs a command to its end; anything but exit status 0 is an error that quotes its stderr."""
    command = [str(part) for part in command]
    # Files rather than pipes: wait4, the one call that tells this child's memory from that of
    # others, must be free to block.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment())
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        finished = Finished(out.read(), err.read(), wall_s, usage.ru_maxrss * 1024)  # from KiB
    if process.returncode != 0:
        raise BenchmarkError(
            f"'{' '.join(command)}' ended with status {process.returncode}: "
            f"{finished.stderr.strip()}"
        )
    return finished


def loading_seconds(finished):
    """Seconds that each rank of a `mechsweep --log-level debug run` spent loading its model."""
    return [float(seconds) for seconds in LOADED.findall(finished.stderr + finished.stdout)]


def plan_value(plan, pattern):
    """The group of `pattern` in what `mechsweep plan` printed."""
    found = re.search(pattern, plan, re.MULTILINE)
    if found is None:
        raise BenchmarkError(f"the output of `mechsweep plan` has nothing that fits {pattern!r}")
    return found[1]


def environment():
    """Open MPI refuses root unless it is told twice; containers often have no other user."""
    extra = {}
    if os.geteuid() == 0:
        extra = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**os.environ, **extra}


def machine():
    """The machine, and how busy it is before the benchmark adds to that."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return {
        "cpu": names[0] if names else platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit():
    """The commit of the checkout, marked when files differ from it."""
    try:
        return run(["git", "-C", ROOT, "describe", "--always", "--dirty"]).stdout.strip()
    except (BenchmarkError, OSError):
        return "unknown"


def busy(described):
    return described["load_before"] > BUSY_LOAD_PER_CORE * described["cores"]


def machine_lines(described):
    lines = [
        f"- Machine: {described['cpu']}, {described['cores']} cores, "
        f"{described['memory_gib']} GiB, {described['system']}; "
        f"load average before: {described['load_before']}"
    ]
    if busy(described):
        lines.append("- **The machine was busy: these times mean nothing. Do not publish them.**")
    return lines


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def cells(described, digits=3):
    """What `spread` says as the cells of a Markdown table, to so many significant digits."""

    def cell(value):
        exponent = math.floor(math.log10(abs(value))) if value else 0
        return f"{value:.{max(0, digits - 1 - exponent)}f}"

    return " | ".join(cell(value) for value in described.values())


def publish(folder, name, lines, record):
    """Writes NAME.md and NAME.json and prints the former."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(text, end="")
