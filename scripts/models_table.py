#!/usr/bin/env python3
"""Writes the tables of docs/models.md from what was measured.

    scripts/models_table.py              # after any of the files below has changed
    scripts/models_table.py --measure    # first runs build/engine_tests, for the first of them
    scripts/models_table.py --check      # writes nothing; exits 1 when the page does not fit them

Reads, and says in the page, who makes each:
  benchmarks/results/architectures.json   differences from transformers on random checkpoints: the
                                          properties that tests/unit/engine/
                                          architecture_golden_test.cpp notes; --measure
  benchmarks/results/parity.json          the same on real models; benchmarks/parity.py
  benchmarks/results/loading.json         seconds and memory of loading; benchmarks/loading.py
  tests/golden/tokenizer_parity.json      tests/golden/compare_tokenizers.py
and rewrites what is between the two comments that name this script. --check also asks for a
measurement of every checkpoint in tests/golden/architectures/list.json. Needs only the standard
library.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs/models.md")
BEGIN = "<!-- written by scripts/models_table.py: begin -->"
END = "<!-- written by scripts/models_table.py: end -->"
MEASURED = Path("benchmarks/results/architectures.json")
PARITY = Path("benchmarks/results/parity.json")
LOADING = Path("benchmarks/results/loading.json")
TOKENIZERS = Path("tests/golden/tokenizer_parity.json")
CHECKPOINTS = Path("tests/golden/architectures/list.json")

# Properties of the tests, and what stands above their column.
DIFFERENCES = {
    "logit_difference_relative": "logits / largest",
    "loss_difference": "losses",
    "delta_loss_difference": "heads at zero",
    "site_loss_difference": "sites at zero",
    "pattern_difference": "patterns",
    "bfloat16_delta_loss_of_spread": "bfloat16",
    "float16_delta_loss_of_spread": "float16",
}
REQUIRED = [name for name in DIFFERENCES if not name.endswith("_of_spread")]
ABLATIONS = ("delta_loss_difference", "site_loss_difference")
# The real models, by the name of their file: architecture, and what people call them.
REAL = {
    "SmolLM2-135M-Instruct.Q4_1.gguf": ("llama", "SmolLM2-135M"),
    "gemma-3-270m-q4_k_m.gguf": ("gemma3", "Gemma 3 270M"),
}
# The compared tokenizers that are like those of an architecture's published models.
TOKENIZERS_OF = {
    "gpt2": ["gpt2-style"],
    "gpt_neox": ["neox-style"],
    "gptj": ["gpt2-style"],
    "opt": ["gpt2-style"],
    "llama": ["SmolLM2-135M", "smollm-style", "llama2-style", "llama3-style"],
    "mistral": ["mistral-style"],
    "qwen2": ["qwen2-style"],
    "qwen3": ["qwen2-style"],
    "gemma2": ["gemma-style"],
    "gemma3": ["Gemma 3 270M", "gemma-style"],
    "phi3": ["llama2-style"],
}

FIRST_TEXT = """\
Largest differences from transformers in fp64 of fp32 on the random checkpoints of each architecture
(`scripts/models_table.py --measure`). *Ablations*: each head's z, then each site, at zero.
*Tokenizer*: of the tokenizers below, those that are like the published ones. *Load* and *peak*: the
real model that we have, in a run that does little else.
"""
CONFIGURATIONS_TEXT = """
By configuration; tests/golden/architectures/list.json says what each exercises. Losses, heads and
sites are in nats. Narrow types: the difference of what zeroing a head changes, as a share of the
largest that the reference itself shows between that type and fp64.
"""
REAL_TEXT = """
### Real models

On the prompts of the golden files (`python3 benchmarks/parity.py`). Those of Gemma 3, whose windows
have 512 positions, are 21, 23, 99 and 684 tokens long, and 65 and 657 for the scores.
"""
TOKENIZERS_TEXT = """
Loading: medians of `python3 benchmarks/loading.py`, float32, with the file in the page cache.

### Tokenizers

Lines of varied text (`tests/golden/tokenizer_lines.py`) through mechsweep and the tokenizers
package (`tests/golden/compare_tokenizers.py`, which says what the columns count). *Refused*: the
vocabulary has no token for a byte of the line; the reference drops that byte. The offsets left are
of characters that a normaliser drops at the start of a text, and of punctuation younger than the
reference's tables. The styles are small tokenizers of our own (tests/golden/tokenizers/); the
packages of scripts/envs/ contain no tokenizer.json.
"""


class TableError(Exception):
    """What is wrong: one sentence."""


def read(root, path):
    file = root / path
    if not file.is_file():
        raise TableError(f"{path} is missing; scripts/models_table.py --help says what makes it")
    return json.loads(file.read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------- measuring


def properties(report):
    """{checkpoint: {property: text}} of a report of Googletest; failed tests are an error."""
    found = {}
    for suite in report["testsuites"]:
        for test in suite["testsuite"]:
            if test.get("failures"):
                raise TableError(f"{test['name']} fails; the table is about code that passes")
            if "checkpoint" in test:
                own = found.setdefault(test["checkpoint"], {})
                own |= {k: test[k] for k in (*DIFFERENCES, "architecture", "formats") if k in test}
    return found


def measure(root, program):
    """Runs the tests and writes what they note, by checkpoint in the order of the list."""
    if not program.is_file():
        raise TableError(f"{program} is missing; scripts/build.sh --tests makes it")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [str(program), "--gtest_filter=*ArchitectureGolden*", "--gtest_brief=1"]
        environment = {**os.environ, "GTEST_OUTPUT": f"json:{file}"}
        subprocess.run(command, check=False, env=environment)
        if not file.is_file():
            raise TableError(f"{program} wrote no report")
        found = properties(json.loads(file.read_text(encoding="utf-8")))
    entries = []
    for one in read(root, CHECKPOINTS)["checkpoints"]:
        own = found.get(one["name"], {})
        for name in ("architecture", "formats", *REQUIRED):
            if name not in own:
                raise TableError(f"no test notes the {name} of {one['name']}")
        numbers = {name: float(own[name]) for name in DIFFERENCES if name in own}
        labels = {"architecture": own["architecture"], "formats": own["formats"]}
        entries.append({"name": one["name"], **labels, **numbers})
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    text = (
        f'{{\n "made_by": "scripts/models_table.py --measure",\n "checkpoints": [\n{lines}\n ]\n}}'
    )
    (root / MEASURED).write_text(text + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------- the tables


def row(cells):
    return f"| {' | '.join(cells)} |"


def table(head, rows):
    return [row(head), row(["---"] * len(head)), *map(row, rows)]


def number(value):
    return f"{value:.1e}".replace("e-0", "e-")


def worst(checkpoints, names):
    return number(max(one[name] for one in checkpoints for name in names))


def tokenizer_name(entry):
    file = Path(entry["file"])
    return REAL[file.name][1] if file.name in REAL else file.parent.name


def differing(entry):
    """Lines at most: one may count under two headings."""
    return entry["ids_differ"] + entry["texts_differ"] + entry["offsets_differ"]


def tokenizer_cell(architecture, entries):
    chosen = [entries[name] for name in TOKENIZERS_OF.get(architecture, []) if name in entries]
    if not chosen:
        return "none like it"
    lines = sum(one["lines"] for one in chosen)
    return f"{sum(map(differing, chosen))} of {lines:,} lines"


def load_and_peak(summary):
    return [f"{summary['load_s']['median']:.2f}", f"{summary['peak_mib']['median']:.0f}"]


def loading_cells(architecture, loads):
    """Of mechsweep with the most threads, which comes last."""
    for one in loads:
        if REAL.get(one["model"], [""])[0] == architecture:
            ours = [v for side, v in one["summary"].items() if side.startswith("mechsweep")]
            return load_and_peak(ours[-1])
    return ["-", "-"]


def by_architecture(measured, loads, tokenizers):
    groups = {}
    for one in measured:
        groups.setdefault(one["architecture"], []).append(one)
    entries = {tokenizer_name(one): one for one in tokenizers}
    head = ["architecture", "configurations", "logits / largest", "ablations, nats", "formats"]
    head += ["tokenizer differs in", "load, s", "peak, MiB"]
    rows = []
    for name, checkpoints in sorted(groups.items()):
        cells = [name, str(len(checkpoints)), worst(checkpoints, ["logit_difference_relative"])]
        cells += [worst(checkpoints, ABLATIONS), checkpoints[0]["formats"]]
        cells += [tokenizer_cell(name, entries), *loading_cells(name, loads)]
        rows.append(cells)
    return table(head, rows)


def by_configuration(measured):
    columns = [name for name in DIFFERENCES if any(name in one for one in measured)]
    head = ["configuration", "architecture", *(DIFFERENCES[name] for name in columns)]
    rows = []
    for one in measured:
        cells = []
        for name in columns:
            share = name.endswith("_of_spread")
            cells.append(f"{one[name]:.2f}" if share else number(one[name]))
        rows.append([one["name"], one["architecture"], *cells])
    return table(head, rows)


def real_models(parity, loads):
    lines = []
    for model in parity:
        rows = [
            [one["number"], f"{one['mechsweep']:.2g}", f"{one['transformers']:.2g}"]
            for one in model["rows"]
        ]
        lines += [f"{model['title']} (`{model['model']}`), from transformers in fp64:", ""]
        lines += [*table(["number", "mechsweep fp32", "transformers fp32"], rows), ""]
    head = ["model", "loaded by", "seconds", "peak memory of the process, MiB"]
    rows = [
        [REAL.get(one["model"], ["", one["model"]])[1], side, *load_and_peak(summary)]
        for one in loads
        for side, summary in one["summary"].items()
    ]
    return [*lines, *table(head, rows)]


def tokenizer_table(tokenizers):
    head = ["tokenizer", "lines", "ids differ", "texts differ", "offsets differ", "refused"]
    rows = [
        [tokenizer_name(one)]
        + [f"{one[key]:,}" for key in ("lines", "ids_differ", "texts_differ", "offsets_differ")]
        + [f"{one['refused']:,}"]
        for one in tokenizers
    ]
    return table(head, rows)


def tables(root):
    """The page's part between the two comments."""
    measured = read(root, MEASURED)["checkpoints"]
    loads = read(root, LOADING)["models"]
    tokenizers = read(root, TOKENIZERS)["tokenizers"]
    parity = read(root, PARITY)["models"]
    lines = [
        FIRST_TEXT,
        *by_architecture(measured, loads, tokenizers),
        CONFIGURATIONS_TEXT,
        *by_configuration(measured),
        REAL_TEXT,
        *real_models(parity, loads),
        TOKENIZERS_TEXT,
        *tokenizer_table(tokenizers),
    ]
    return "\n".join(lines)


def written(root, page):
    """The page as it should be."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise TableError(f"{PAGE} has not the two comments '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n\n{tables(root)}\n\n{END}{after}"


def check(root):
    """What is wrong with the page: sentences."""
    listed = [one["name"] for one in read(root, CHECKPOINTS)["checkpoints"]]
    measured = [one["name"] for one in read(root, MEASURED)["checkpoints"]]
    if sorted(listed) != sorted(measured):
        apart = ", ".join(sorted(set(listed) ^ set(measured)))
        again = "run scripts/models_table.py --measure"
        yield f"{MEASURED} and {CHECKPOINTS} differ in {apart}; {again}"
    page = (root / PAGE).read_text(encoding="utf-8")
    if written(root, page) != page:
        yield f"{PAGE} is not what its tables' files say; run scripts/models_table.py"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--engine-tests", type=Path, default=ROOT / "build/engine_tests")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    root = arguments.root
    if arguments.check:
        found = list(check(root))
        for sentence in found:
            print(f"models_table: {sentence}")
        return 1 if found else 0
    if arguments.measure:
        measure(root, arguments.engine_tests)
    page = (root / PAGE).read_text(encoding="utf-8")
    (root / PAGE).write_text(written(root, page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TableError as error:
        sys.exit(f"models_table: {error}")
