"""How far mechsweep is from transformers in fp64 on the golden prompts of SmolLM2-135M.

Runs a sweep on the golden prompt files, exports it and prints the largest difference per kind of
number, beside transformers' own fp32 rounding. Needs only the standard library.

    python3 benchmarks/parity.py [--program build/mechsweep] [--ranks 2] [--out FOLDER]
"""

import argparse
import csv
import io
import json
import os
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
MODEL = ROOT / "models" / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SETS = ("smollm2_mixed", "smollm2_abna")
CONFIG = """
name: parity
seed: 0
models: [{{id: smollm2, path: {model}}}]
prompts:
  - {{id: smollm2_mixed, kind: file, path: {golden}/prompts/smollm2_mixed.jsonl}}
  - {{id: smollm2_abna, kind: file, path: {golden}/prompts/smollm2_abna.jsonl}}
  - {{id: repeat, kind: file, path: {golden}/prompts/repeat_smollm2.jsonl}}
experiments:
  - {{id: base, kind: head_ablation, prompts: [smollm2_mixed], operation: zero, positions: all,
     heads: [L0H0]}}
  - {{id: all, kind: head_ablation, prompts: [smollm2_abna], operation: zero, positions: all}}
  - {{id: targets, kind: head_ablation, prompts: [smollm2_abna], operation: zero,
     positions: targets}}
  - {{id: scores, kind: attention_scores, prompts: [repeat],
     scores: [previous_token, duplicate_token, induction]}}
"""


def run_sweep(program: str, ranks: int, folder: Path) -> list[dict]:
    """The rows of `mechsweep export` of the parity sweep."""
    config = folder / "parity.yaml"
    config.write_text(CONFIG.format(model=MODEL, golden=GOLDEN))
    results = folder / "parity.h5"
    environment = dict(os.environ)
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    launcher = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, program, "run", str(config), "--out", str(results)]
    subprocess.run(command, check=True, env=environment)
    exported = subprocess.run(
        [program, "export", str(results)], check=True, capture_output=True, text=True
    )
    return list(csv.DictReader(io.StringIO(exported.stdout)))


def base_rows(rows: list[dict]) -> list[tuple[str, float, float]]:
    """Largest difference of base losses and of logits (relative to the largest logit)."""
    golden = json.loads((GOLDEN / "smollm2_base.json").read_text())
    largest_logit = golden["full_logits"]["fp64"]["largest_magnitude"]
    loss = logit = loss_rounding = logit_rounding = 0.0
    for name in SETS:
        part = golden["sets"][name]
        mine: dict[tuple[int, int, str], float] = {}
        for row in rows:
            if row["run"].split("/")[0] in ("base", "all") and row["prompts"] == name:
                mine[(int(row["prompt"]), int(row.get("target") or 0), row["metric"])] = float(
                    row["value"]
                )
        # The golden keeps the file's order of targets; mechsweep sorts them by position.
        places = list(zip(part["targets"]["prompt"], part["targets"]["at"], strict=True))
        for i, (prompt, at) in enumerate(places):
            target = sum(other == prompt and place < at for other, place in places)
            expected = part["base"]["fp64"]
            loss = max(loss, abs(mine[(prompt, target, "base_loss")] - expected["loss"][i]))
            loss_rounding = max(
                loss_rounding, abs(part["base"]["fp32"]["loss"][i] - expected["loss"][i])
            )
            for k, value in enumerate(expected["logits"][i]):
                logit = max(logit, abs(mine[(prompt, target, f"base_logit_{k}")] - value))
                rounding = abs(part["base"]["fp32"]["logits"][i][k] - value)
                logit_rounding = max(logit_rounding, rounding)
    return [
        ("base loss, nats", loss, loss_rounding),
        ("tracked logits / largest logit", logit / largest_logit, logit_rounding / largest_logit),
    ]


def ablation_rows(rows: list[dict]) -> list[tuple[str, float, float]]:
    """Largest difference of delta_loss over all heads and prompts, and all but the worst three."""
    mine = {
        (r["run"].split("/")[0], r["layer"], r["head"], r["prompt"]): float(r["value"])
        for r in rows
        if r["metric"] == "delta_loss" and r["layer"]
    }
    result = []
    with (GOLDEN / "smollm2_head_ablation.csv").open() as file:
        golden = list(csv.DictReader(file))
    for positions in ("all", "targets"):
        pairs = []
        for row in golden:
            if row["positions"] != positions:
                continue
            expected = float(row["delta_loss_fp64"])
            got = mine[(positions, row["layer"], row["head"], row["prompt"])]
            pairs.append((abs(got - expected), abs(float(row["delta_loss"]) - expected)))
        pairs.sort(reverse=True)
        name = f"delta_loss, head removed at {positions} ({len(pairs)} effects), nats"
        result.append((name, pairs[0][0], max(p[1] for p in pairs)))
        beyond = sum(p[0] > 1e-4 for p in pairs)
        result.append(
            (f"... the median of them ({beyond} beyond 1e-4)", middle(pairs, 0), middle(pairs, 1))
        )
    return result


def middle(pairs: list[tuple[float, float]], column: int) -> float:
    values = sorted(p[column] for p in pairs)
    return values[len(values) // 2]


def score_rows(rows: list[dict]) -> list[tuple[str, float, float]]:
    golden = json.loads((GOLDEN / "smollm2_scores.json").read_text())
    result = []
    # These prompts are ids without a `prefix_length`, so their first token counts as content: the
    # golden has that variant of the previous-token score under a name of its own.
    keys = {
        "previous_token": "previous_token_no_prefix",
        "duplicate_token": "duplicate_token",
        "induction": "induction",
    }
    for name, key in keys.items():
        expected = golden["fp64"][key]
        difference = max(
            abs(float(r["value"]) - expected[int(r["prompt"])][int(r["layer"])][int(r["head"])])
            for r in rows
            if r["metric"] == name
        )
        result.append((f"{name} score", difference, golden["largest_fp32_minus_fp64"][key]))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=str(ROOT / "build" / "mechsweep"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = run_sweep(arguments.program, arguments.ranks, Path(folder))
    lines = [
        "# SmolLM2-135M against transformers in fp64",
        "",
        "Made by `python3 benchmarks/parity.py`. Largest absolute differences.",
        "",
        "| number | mechsweep fp32 | transformers fp32 |",
        "| --- | --- | --- |",
    ]
    for name, mine, reference in base_rows(rows) + ablation_rows(rows) + score_rows(rows):
        lines.append(f"| {name} | {mine:.2g} | {reference:.2g} |")
    text = "\n".join(lines) + "\n"
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "parity.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
