"""How far mechsweep is from transformers in fp64 on the golden prompts of real models.

Runs a sweep of each model on its golden prompt files, exports it and prints the largest difference
per kind of number, beside transformers' own fp32 rounding. Models that are not fetched are left
out; their part of the report stays as it was. Needs only the standard library.

    python3 benchmarks/parity.py [--program build/mechsweep] [--ranks 2] [--out FOLDER]
"""

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, publish

GOLDEN = ROOT / "tests" / "golden"


@dataclass(frozen=True)
class Model:
    """`prompts` are the sweep's prompt sets: (golden file, first line, how many or None for all).
    The golden files of the model's numbers begin with `golden`."""

    title: str
    path: str
    golden: str
    prompts: dict
    experiments: tuple


def ablation(identity: str, prompts: str, positions: str, **more) -> dict:
    kind = {"id": identity, "kind": "head_ablation", "operation": "zero"}
    return kind | {"prompts": [prompts], "positions": positions} | more


def scores(prompts: str) -> dict:
    names = ["previous_token", "duplicate_token", "induction"]
    return {"id": "scores", "kind": "attention_scores", "prompts": [prompts], "scores": names}


# Those whose heads' effects on the long prompt the golden file knows.
GEMMA3_LAYERS = [0, 5, 8, 11, 14, 17]
MODELS = (
    Model(
        title="SmolLM2-135M",
        path="models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf",
        golden="smollm2",
        prompts={
            "mixed": ("smollm2_mixed.jsonl", 0, None),
            "abna": ("smollm2_abna.jsonl", 0, None),
            "repeat": ("repeat_smollm2.jsonl", 0, None),
        },
        experiments=(
            ablation("base", "mixed", "all", heads=["L0H0"]),
            ablation("all", "abna", "all"),
            ablation("targets", "abna", "targets"),
            scores("repeat"),
        ),
    ),
    Model(
        title="Gemma 3 270M",
        path="models/gemma3-270m/gemma-3-270m-q4_k_m.gguf",
        golden="gemma3",
        prompts={
            "short": ("gemma3_mixed.jsonl", 0, 3),
            "long": ("gemma3_mixed.jsonl", 3, 1),
            "repeat": ("repeat_gemma3.jsonl", 0, None),
        },
        experiments=(
            ablation("all", "short", "all"),
            ablation("targets", "short", "targets"),
            ablation("all_long", "long", "all", layers=GEMMA3_LAYERS),
            ablation("targets_long", "long", "targets", layers=GEMMA3_LAYERS),
            scores("repeat"),
        ),
    ),
)


def run_sweep(model: Model, program: str, ranks: int, folder: Path) -> list[dict]:
    """The rows of `mechsweep export`, with the golden file and its prompt in `file`, `prompt`."""
    sets = []
    for identity, (file, first, count) in model.prompts.items():
        lines = (GOLDEN / "prompts" / file).read_text().splitlines(keepends=True)[first:]
        path = folder / f"{identity}.jsonl"
        path.write_text("".join(lines[:count]))
        sets.append({"id": identity, "kind": "file", "path": str(path)})
    config = {
        "name": "parity",
        "seed": 0,
        "models": [{"id": "model", "path": str(ROOT / model.path)}],
        "prompts": sets,
        "experiments": list(model.experiments),
    }
    file = folder / "parity.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    results = folder / "parity.h5"
    environment = dict(os.environ)
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, program, "run", str(file), "--out", str(results)]
    subprocess.run(command, check=True, env=environment)
    exported = subprocess.run(
        [program, "export", str(results)], check=True, capture_output=True, text=True
    )
    rows = list(csv.DictReader(io.StringIO(exported.stdout)))
    for row in rows:
        row["file"], first, _ = model.prompts[row["prompts"]]
        row["prompt"] = int(row["prompt"]) + first
        row["target"] = int(row.get("target") or 0)
    return rows


def parts_of(golden: dict) -> list[dict]:
    """The blocks of a base golden, each about one prompt file."""
    return list(golden.get("sets", {"": golden}).values())


def base_golden(model: Model) -> dict:
    return json.loads((GOLDEN / f"{model.golden}_base.json").read_text())


def target_order(part: dict) -> list[tuple[int, int]]:
    """(prompt, target) as `export` counts them of each target of a golden, which keeps the file's
    order; mechsweep sorts them by position."""
    places = list(zip(part["targets"]["prompt"], part["targets"]["at"], strict=True))
    return [(p, sum(q == p and other < at for q, other in places)) for p, at in places]


def base_rows(model: Model, rows: list[dict]) -> list[tuple[str, float, float]]:
    """Largest difference of base losses and of logits (relative to the largest logit)."""
    golden = base_golden(model)
    full = golden["full_logits"]
    if isinstance(full, dict):
        largest_logit = full["fp64"]["largest_magnitude"]
    else:
        largest_logit = max(one["largest_magnitude"] for one in full)
    loss = logit = loss_rounding = logit_rounding = 0.0
    for part in parts_of(golden):
        file = Path(part["prompts"]).name
        mine = {
            (row["prompt"], row["target"], row["metric"]): float(row["value"])
            for row in rows
            if row["file"] == file and row["metric"].startswith("base_")
        }
        exact, single = part["base"]["fp64"], part["base"]["fp32"]
        for i, (prompt, target) in enumerate(target_order(part)):
            expected = exact["loss"][i]
            loss = max(loss, abs(mine[(prompt, target, "base_loss")] - expected))
            loss_rounding = max(loss_rounding, abs(single["loss"][i] - expected))
            for k, value in enumerate(exact["logits"][i]):
                logit = max(logit, abs(mine[(prompt, target, f"base_logit_{k}")] - value))
                logit_rounding = max(logit_rounding, abs(single["logits"][i][k] - value))
    return [
        ("base loss, nats", loss, loss_rounding),
        ("tracked logits / largest logit", logit / largest_logit, logit_rounding / largest_logit),
    ]


def ablation_rows(model: Model, rows: list[dict]) -> list[tuple[str, float, float]]:
    """Largest difference of delta_loss over all heads and prompts, and the median."""
    details = json.loads((GOLDEN / f"{model.golden}_head_ablation.json").read_text())
    file = Path(details["prompts"]).name
    part = next(p for p in parts_of(base_golden(model)) if Path(p["prompts"]).name == file)
    order: dict[int, list[int]] = {}
    for prompt, target in target_order(part):
        order.setdefault(prompt, []).append(target)
    mine = {
        (r["run"].split("/")[0].split("_")[0], r["layer"], r["head"], r["prompt"], r["target"]): (
            float(r["value"])
        )
        for r in rows
        if r["metric"] == "delta_loss" and r["layer"] and r["file"] == file
    }
    result = []
    with (GOLDEN / details["file"]).open() as table:
        golden = list(csv.DictReader(table))
    for positions in ("all", "targets"):
        pairs = []
        for row in golden:
            if row["positions"] != positions:
                continue
            prompt = int(row["prompt"])
            target = order[prompt][int(row.get("target") or 0)]
            expected = float(row["delta_loss_fp64"])
            got = mine[(positions, row["layer"], row["head"], prompt, target)]
            pairs.append((abs(got - expected), abs(float(row["delta_loss"]) - expected)))
        found, known = (sorted(pair[k] for pair in pairs) for k in (0, 1))
        name = f"delta_loss, head removed at {positions} ({len(found)} effects), nats"
        result.append((name, found[-1], known[-1]))
        beyond = sum(one > 1e-4 for one in found)
        name = f"... the median of them ({beyond} beyond 1e-4)"
        result.append((name, found[len(found) // 2], known[len(known) // 2]))
    return result


def score_rows(model: Model, rows: list[dict]) -> list[tuple[str, float, float]]:
    golden = json.loads((GOLDEN / f"{model.golden}_scores.json").read_text())
    result = []
    for name in ("previous_token", "duplicate_token", "induction"):
        # These prompts are ids without a `prefix_length`, so their first token counts as content:
        # a golden that also has the other variant keeps this one under a name of its own.
        key = f"{name}_no_prefix" if f"{name}_no_prefix" in golden["fp64"] else name
        expected = golden["fp64"][key]
        difference = max(
            abs(float(r["value"]) - expected[r["prompt"]][int(r["layer"])][int(r["head"])])
            for r in rows
            if r["metric"] == name
        )
        result.append((f"{name} score", difference, golden["largest_fp32_minus_fp64"][key]))
    return result


def measure(model: Model, rows: list[dict]) -> dict:
    found = [
        {"number": name, "mechsweep": mine, "transformers": reference}
        for part in (base_rows, ablation_rows, score_rows)
        for name, mine, reference in part(model, rows)
    ]
    return {"title": model.title, "model": Path(model.path).name, "rows": found}


def report(record: dict) -> str:
    lines = [
        "# Real models against transformers in fp64",
        "",
        "Made by `python3 benchmarks/parity.py`. Largest absolute differences.",
    ]
    for model in record["models"]:
        lines += ["", f"## {model['title']}", ""]
        lines += ["| number | mechsweep fp32 | transformers fp32 |", "| --- | --- | --- |"]
        for row in model["rows"]:
            lines.append(
                f"| {row['number']} | {row['mechsweep']:.2g} | {row['transformers']:.2g} |"
            )
    return "\n".join(lines) + "\n"


def last_record(file: Path, title: str) -> list[dict]:
    """What an earlier run found of a model."""
    if not file.is_file():
        return []
    known = json.loads(file.read_text(encoding="utf-8"))["models"]
    return [one for one in known if one["title"] == title]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=str(ROOT / "build" / "mechsweep"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    models: list[dict] = []
    for model in MODELS:
        if not (ROOT / model.path).is_file():
            print(f"parity: {model.path} is not there; {model.title} is left out", file=sys.stderr)
            models += last_record(arguments.out / "parity.json", model.title)
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows = run_sweep(model, arguments.program, arguments.ranks, Path(folder))
        models.append(measure(model, rows))
    record = {"made_by": "benchmarks/parity.py", "models": models}
    publish(arguments.out, "parity", report(record).splitlines(), record)


if __name__ == "__main__":
    main()
