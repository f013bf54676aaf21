"""`export` of whole sweeps against what transformers computed in double precision, and the science
of the small trained model through the program. See tests/golden/README.md."""

import csv
import json

import pytest
from system_program import GOLDEN, export_rows, model_entry, must, prompt_file, write_config

ROUNDING_ROOM = 4.0  # times the largest fp32 - fp64 of the reference itself
DIGITS_ROOM = 1e-8  # export prints nine digits
CASES = {
    "random_llama": "llama-random",
    "random_llama_sharded": "llama-random-sharded",
    "random_gpt2": "gpt2-random",
}
PROMPT_FILES = {"random_llama_sharded": "random_llama"}
BUILT_IN = ("previous_token", "duplicate_token", "induction", "anti_induction")
OCCURRENCES = ("latest", "first", "all")


def near(value: str, expected: float, room: float) -> bool:
    return abs(float(value) - expected) <= room + DIGITS_ROOM * abs(expected)


class Golden:
    """A golden file with its targets numbered as `export` numbers them."""

    def __init__(self, name: str):
        self.data = json.loads((GOLDEN / f"{name}.json").read_text())
        rounding = self.data["largest_fp32_minus_fp64"]
        self.loss_room = ROUNDING_ROOM * rounding["loss"]
        self.logit_room = ROUNDING_ROOM * rounding["logits"]
        self.score_room = ROUNDING_ROOM * rounding["scores"]
        # (prompt, target within the prompt) -> index; a prompt's targets are ordered by position.
        self.target_of = {}
        places = self.data["targets"]
        for index in sorted(
            range(len(places["at"])), key=lambda i: (places["prompt"][i], places["at"][i])
        ):
            prompt = places["prompt"][index]
            inside = sum(1 for p, _ in self.target_of if p == prompt)
            self.target_of[prompt, inside] = index
        self.first_logit = [0]
        for tracked in self.data["targets"]["tracked"]:
            self.first_logit.append(self.first_logit[-1] + len(tracked))

    def runs(self) -> list[dict]:
        """Those that an experiment kind can do: z at zero, and every replacement."""
        return [r for r in self.data["runs"] if r["operation"] == "replace" or r["site"] == "z"]

    def target(self, row: dict) -> int:
        return self.target_of[int(row["prompt"]), int(row["target"] or 0)]


def experiment_of(run: dict, identity: str, prompts: str) -> dict:
    common = {"id": identity, "prompts": [prompts], "positions": run["positions"]}
    if run["operation"] == "zero":
        return common | {"kind": "head_ablation", "operation": "zero"}
    patching = {"kind": "activation_patching", "site": run["site"]}
    return common | patching | {"direction": run["direction"]}


def check_effects(golden: Golden, run: dict, rows: list[dict]):
    """Every row of a run; counts them, so that none can be missing."""
    base, donor = ("base", "corrupt")
    if run["direction"] == "clean_to_corrupt":
        base, donor = donor, base
    references = {"base_": golden.data[base], "donor_": golden.data[donor]}
    seen = {}
    for row in rows:
        metric, target = row["metric"], golden.target(row)
        seen[metric] = seen.get(metric, 0) + 1
        prefix = next((p for p in references if metric.startswith(p)), "")
        quantity = metric.removeprefix(prefix)
        if prefix:
            numbers = references[prefix]["fp64"]
            loss, top1 = numbers["loss"][target], references[prefix]["top1"][target]
            logits = numbers["logits"][target]
        else:
            place = [int(row[axis]) for axis in ("layer", "head") if row[axis]]
            loss, top1, logits = golden_cell(golden, run, place, target, row["position"])
        what = (run["site"], run["positions"], run["direction"], row)
        if quantity == "loss":
            assert near(row["value"], loss, golden.loss_room), (what, loss)
        elif quantity == "delta_loss":
            before = references["base_"]["fp64"]["loss"][target]
            assert near(row["value"], loss - before, 2 * golden.loss_room), (what, loss - before)
        elif quantity == "top1" and top1 is not None:
            assert int(row["value"]) == top1, what
        elif quantity.startswith("logit_") and logits is not None:
            expected = logits[int(quantity.removeprefix("logit_"))]
            assert near(row["value"], expected, golden.logit_room), (what, expected)
        elif quantity == "margin" and logits is not None:
            expected = logits[0] - max(logits[1:])
            assert near(row["value"], expected, 2 * golden.logit_room), (what, expected)
    return seen


def golden_cell(golden: Golden, run: dict, place: list[int], target: int, position: str):
    """loss, top1 and tracked logits of one edited run; the last two are not kept for `each`."""
    losses, top1, logits = run["loss_fp64"], run.get("top1"), run.get("logits_fp64")
    for index in place:
        losses = losses[index]
        top1, logits = (part[index] if part is not None else None for part in (top1, logits))
    if position:
        return losses[target][int(position)], None, None
    tracked = slice(golden.first_logit[target], golden.first_logit[target + 1])
    return losses[target], top1[target], logits[tracked]


def count_numbers(nested) -> int:
    return sum(map(count_numbers, nested)) if isinstance(nested, list) else 1


@pytest.mark.parametrize("case", CASES)
def test_every_intervention_agrees_with_transformers(folder, case):
    golden = Golden(case)
    prompts = PROMPT_FILES.get(case, case)
    runs = {f"e{number}": run for number, run in enumerate(golden.runs())}
    config = write_config(
        folder / "in" / "sweep.yaml",
        [model_entry(CASES[case])],
        [prompt_file(prompts)],
        [experiment_of(run, identity, prompts) for identity, run in runs.items()],
    )
    must("run", config, "--out", folder / "out" / "r.h5")
    rows = {identity: [] for identity in runs}
    for row in export_rows(folder / "out" / "r.h5"):
        rows[row["run"].split("/")[0]].append(row)
    for identity, run in runs.items():
        seen = check_effects(golden, run, rows[identity])
        cells = count_numbers(run["loss_fp64"])
        assert seen["loss"] == seen["delta_loss"] == seen["logit_0"] == cells, (
            identity,
            run["site"],
        )
        assert seen["base_loss"] == len(golden.data["targets"]["prompt"])
        assert ("donor_loss" in seen) == (run["operation"] == "replace")
    assert len(runs) == 65


def write_with_prefix(source, target, length: int):
    """A copy of a prompt file whose prompts say how long their prefix is."""
    lines = [
        json.loads(line) | {"prefix_length": length} for line in source.read_text().splitlines()
    ]
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("prefix_length", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_every_score_agrees_with_transformers(folder, case, prefix_length):
    golden = Golden(case)
    source = GOLDEN / "prompts" / f"{PROMPT_FILES.get(case, case)}.jsonl"
    prompts = [{"id": "p", "kind": "file", "path": str(folder / "in" / "p.jsonl")}]
    write_with_prefix(source, folder / "in" / "p.jsonl", prefix_length)
    if prefix_length == 1:  # a prompt of nothing but a prefix has no content to score
        lines = (folder / "in" / "p.jsonl").read_text().splitlines(keepends=True)
        (folder / "in" / "p.jsonl").write_text("".join(lines[1:]))
    experiments = [
        {"id": o, "kind": "attention_scores", "scores": [*BUILT_IN, "copy"], "occurrence": o}
        for o in OCCURRENCES
    ]
    config = write_config(
        folder / "in" / "sweep.yaml", [model_entry(CASES[case])], prompts, experiments
    )
    must("run", config, "--out", folder / "out" / "r.h5")
    scores = golden.data["scores_fp64"][f"prefix_length_{prefix_length}"]
    seen = set()
    for row in export_rows(folder / "out" / "r.h5"):
        occurrence = row["run"].split("/")[0]
        name = row["metric"]
        if name == "offset_score":
            name = offset_name(row["offset"])
        key = name if name in scores else f"{name}/{occurrence}"
        prompt = int(row["prompt"]) + prefix_length
        expected = scores[key][prompt][int(row["layer"])][int(row["head"])]
        assert near(row["value"], expected, golden.score_room), (row, expected)
        seen.add((key, prompt))
    counted = {
        (key, prompt)
        for key, prompts_of_key in scores.items()
        for prompt, values in enumerate(prompts_of_key)
        if values is not None and prompt >= prefix_length
    }
    assert seen == counted


def offset_name(offset: str) -> str:
    names = {"-2": "offset_-2", "-1": "anti_induction", "0": "duplicate_token"}
    return (names | {"1": "induction", "2": "offset_+2"})[offset]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A sweep of the trained copier, reduced: (results, summary as JSON, golden)."""
    folder = tmp_path_factory.mktemp("trained")
    golden = json.loads((GOLDEN / "tiny-induction.json").read_text())["fp64"]
    write_with_prefix(GOLDEN / "prompts" / "tiny_induction.jsonl", folder / "p.jsonl", 1)
    sets = {
        "induction": golden["induction_heads"],
        "others": golden["other_layer_1_heads"],
        "previous": [golden["previous_token_head"]],
    }
    ablation = {"kind": "head_ablation", "operation": "zero", "positions": "all"}
    config = write_config(
        folder / "sweep.yaml",
        [model_entry("tiny-induction")],
        [{"id": "p", "kind": "file", "path": "p.jsonl"}],
        [
            {"id": "s", "kind": "attention_scores", "scores": ["induction", "previous_token"]},
            ablation | {"id": "single"},
            ablation | {"id": "sets", "heads": {"sets": sets}},
        ],
    )
    must("run", config, "--out", folder / "r.h5")
    must("reduce", folder / "r.h5")
    summary = json.loads((folder / "r.summary.json").read_text())
    return folder / "r.h5", {run["run"]: run for run in summary["runs"]}, golden


def test_ranking_finds_the_induction_head_and_its_helper(trained):
    _, runs, golden = trained
    scores = runs["s/tiny-induction/p"]["strongest"]
    for score, head, value in (
        ("induction", golden["induction_heads"][0], max(golden["induction"][1])),
        ("previous_token", golden["previous_token_head"], max(golden["previous_token"][0])),
    ):
        first = scores[score][0]
        assert f"L{first['layer']}H{first['head']}" == head
        assert first["rank"] == 1
        assert abs(first["mean"] - value) < 1e-5
    heads = [
        f"L{h['layer']}H{h['head']}"
        for h in runs["single/tiny-induction/p"]["strongest"]["delta_loss"]
    ]
    assert set(heads[:2]) == {"L0H0", "L1H2"}


def test_only_the_circuit_is_necessary_for_copying(trained):
    results, runs, golden = trained
    base = golden["base"]["loss"]
    single = runs["single/tiny-induction/p"]
    assert abs(single["base_loss"] - base) < 1e-4
    assert single["base_accuracy"] == 1.0
    assert not any("fails this task" in warning for warning in single.get("warnings", []))
    with open(results.with_name("r.summary.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    by_set = {
        r["set"]: float(r["mean"])
        for r in rows
        if r["run"].startswith("sets") and r["metric"] == "loss"
    }
    for name, key in (
        ("induction", "induction_heads_zeroed"),
        ("others", "other_layer_1_heads_zeroed"),
        ("previous", "previous_token_head_zeroed"),
    ):
        assert abs(by_set[name] - golden[key]["loss"]) < 1e-3, name
    chance = single["chance_loss"]
    assert by_set["induction"] > chance - 0.1  # nothing is left
    assert by_set["previous"] > chance - 0.1
    assert by_set["others"] < 0.3 * chance
    measured = {
        f"L{r['layer']}H{r['head']}": float(r["mean"])
        for r in rows
        if r["run"].startswith("single") and r["metric"] == "loss" and r["head"]
    }
    for one in golden["single_heads_zeroed"]:
        assert abs(measured[one["heads"][0]] - one["loss"]) < 1e-3, one
