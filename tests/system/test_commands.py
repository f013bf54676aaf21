"""The other commands: exit statuses and the shape of what they print."""

import csv
import json
import re
import subprocess

import pytest
from system_program import (
    CHECKPOINTS,
    DONE,
    GOLDEN,
    RESOURCE,
    USAGE,
    export_rows,
    model_entry,
    must,
    program,
    prompt_file,
    run,
    write_config,
)

COMMANDS = (
    "plan", "run", "reduce", "export", "status", "verify", "inspect", "prompts", "list", "selftest",
)  # fmt: skip
GENERATED = [
    {"id": "rep", "kind": "repeated_random", "count": 3, "period": 5, "repeats": 2, "prefix": 0},
]
HEADS = {"id": "heads", "kind": "head_ablation", "operation": "zero", "positions": "targets"}
SCORES = {"id": "scores", "kind": "attention_scores", "scores": ["induction", "previous_token"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(config, results) of a finished and reduced sweep."""
    folder = tmp_path_factory.mktemp("commands")
    config = write_config(
        folder / "sweep.yaml",
        [model_entry("llama-random")],
        [prompt_file("random_llama"), *GENERATED],
        [HEADS, SCORES],
    )
    must("run", config, "--out", folder / "r.h5")
    must("reduce", folder / "r.h5")
    return config, folder / "r.h5"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    outcome = must(command, "--help")
    assert "Usage:" in outcome.out
    assert outcome.err == ""


def test_help_lists_every_command_and_exit_status():
    text = must("--help").out
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", text, re.MULTILINE), command
    for status in (
        "0 done",
        "1 some units failed",
        "2 usage",
        "3 bad",
        "4 memory",
        "5 interrupted",
        "70",
    ):
        assert status in text


def test_version():
    assert re.fullmatch(r"\S*\d+\.\d+\.\d+\S*\n", must("--version").out.split()[-1] + "\n")


@pytest.mark.parametrize(
    "what, name",
    [
        ("architectures", "llama"),
        ("prompts", "repeated_random"),
        ("experiments", "head_ablation"),
        ("statistics", "bca"),
        ("sites", "resid_pre"),
    ],
)
def test_list(what, name):
    lines = must("list", what).out.splitlines()
    assert any(re.match(rf"{name} +\w", line) for line in lines)
    assert len(lines) >= 2 and all(re.match(r"\S+ +\S", line) for line in lines)


def test_plan_starts_nothing(made):
    config, _ = made
    before = sorted(config.parent.iterdir())
    text = must("plan", config, "--ranks", 4).out
    assert sorted(config.parent.iterdir()) == before
    for run_id in ("heads/llama-random/rep", "scores/llama-random/random_llama"):
        assert run_id in text
    for word in ("units", "FLOP", "memory", "file", "time", "GPU-hours", "mpirun -n 4", "sbatch"):
        assert word in text
    units = int(re.search(r"^units +(\d+)", text, re.MULTILINE)[1])
    assert units == json.loads(must("status", made[1], "--json").out)["units"]


def test_plan_measures_the_machine_when_asked(made):
    text = must("plan", made[0], "--calibrate", "--ranks", 2).out
    assert float(re.search(r"^speed +(\d+) GFLOP/s", text, re.MULTILINE)[1]) > 0
    assert "like this machine's" in text


def test_plan_and_file_agree_on_the_key(made):
    key = re.search(r"\(key ([0-9a-f]+)\)", must("plan", made[0]).out)[1]
    assert re.search(rf"^key +{key}", must("inspect", made[1]).out, re.MULTILINE)


def test_status(made):
    counts = json.loads(must("status", made[1], "--json").out)
    assert counts["done"] == counts["units"] and counts["left"] == counts["failed"] == 0
    assert counts["share_of_work"] == 1.0
    assert f"{counts['units']}: {counts['units']} done, 0 left" in must("status", made[1]).out
    assert counts["bit_exact"] is True
    assert re.search(r"^bit-exact yes$", must("status", made[1]).out, re.MULTILINE)
    assert "bit-exact" not in must("status", made[1].with_name("r.summary.h5")).out


def test_verify(made):
    outcome = must("verify", made[1])
    assert re.search(r"^digest +[0-9a-f]{64}$", outcome.out, re.MULTILINE)
    assert outcome.err == ""
    must("verify", made[1].with_name("r.summary.h5"))


def test_inspect(made):
    model = must("inspect", CHECKPOINTS / "llama-random").out
    for line in (
        r"architecture +llama \(Llama",
        r"shared heads +key/value head h is read by query heads 2 h to 2 h \+ 1",
        r"context +64 tokens",
        r"parameters +\d+ \(0\.\d+ million\)",
        r"memory float32 +0\.\d+ MiB",
        r"memory bfloat16 +0\.\d+ MiB",
        r"memory float16 +0\.\d+ MiB",
        r"tensors +\d+ F32",
        r"tokenizer +none",
        r"ignored keys +architectures, .*use_cache",
        r"ignored tensors +none",
    ):
        assert re.search(rf"^{line}", model, re.MULTILINE), (line, model)
    assert "run heads/llama-random/rep" in must("inspect", made[1]).out
    assert run("inspect", "/nonexistent").status != DONE


def test_export_is_tidy(made):
    rows = export_rows(made[1])
    header = must("export", made[1]).out.splitlines()[0].split(",")
    assert header[:6] == ["run", "model", "prompts", "layer", "head", "position"]
    assert header[-3:] == ["prompt", "metric", "value"]
    metrics = {row["metric"] for row in rows}
    assert {"loss", "delta_loss", "margin", "logit_0", "base_loss", "induction"} <= metrics
    for row in rows:
        float(row["value"])
        digits = re.sub(r"e.*|[-.]", "", row["value"]).lstrip("0")
        assert len(digits) <= 9, row
        assert (row["layer"] == "") == row["metric"].startswith("base_"), row


def test_export_of_one_run(made):
    whole = export_rows(made[1])
    run_field = whole[0]["run"]
    some = export_rows(made[1], "--run", "heads/llama-random/rep")
    expected = [r for r in whole if r["run"].startswith("heads") and r["prompts"] == "rep"]
    assert run_field and len(some) == len(expected) > 0
    assert [r["value"] for r in some] == [r["value"] for r in expected]
    refused = run("export", made[1], "--run", "heads/llama-random/nothing")
    assert refused.status == USAGE
    assert "heads/llama-random/rep" in refused.complaints[0]


def test_export_of_a_summary_has_the_means_of_the_results(made):
    rows = export_rows(made[1], "--run", "scores/llama-random/rep")
    values = {}
    for row in rows:
        if row["metric"] == "induction":
            values.setdefault((row["layer"], row["head"]), []).append(float(row["value"]))
    summary = export_rows(made[1].with_name("r.summary.h5"), "--run", "scores/llama-random/rep")
    means = {
        (row["layer"], row["head"]): float(row["value"])
        for row in summary
        if row["metric"] == "induction.mean"
    }
    assert means.keys() == values.keys()
    for cell, mean in means.items():
        assert abs(mean - sum(values[cell]) / len(values[cell])) < 1e-8


def test_summary_files_agree(made):
    stem = made[1].with_suffix("")
    summary = json.loads(stem.with_name("r.summary.json").read_text())
    with open(stem.with_name("r.summary.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    by_name = {run["run"]: run for run in summary["runs"]}
    first = by_name["heads/llama-random/rep"]["strongest"]["delta_loss"][0]
    row = next(
        r
        for r in rows
        if r["prompts"] == "rep" and r["metric"] == "delta_loss" and r["rank"] == "1" and r["head"]
    )
    assert (int(row["layer"]), int(row["head"])) == (first["layer"], first["head"])
    assert abs(float(row["mean"]) - first["mean"]) < 1e-8
    assert first["bca_low"] <= first["mean"] <= first["bca_high"]
    assert "non_finite" not in rows[0]  # there are none
    assert "-0" not in {value for row in rows for value in row.values()}


@pytest.mark.parametrize("source", ["random_llama", "rep"])
def test_printed_prompts_give_the_same_numbers_as_a_file(made, folder, source):
    """What `prompts` prints is a prompt file; the spelling changes nothing."""
    original = prompt_file("random_llama") if source == "random_llama" else GENERATED[0]
    config = write_config(
        folder / "a.yaml", [model_entry("llama-random")], [original], [HEADS, SCORES]
    )
    printed = must("prompts", config).out
    lines = [json.loads(line) for line in printed.splitlines()]
    assert len(lines) == (5 if source == "random_llama" else 3)
    assert all(line["tokens"] for line in lines)
    (folder / "in" / "printed.jsonl").write_text(printed)
    again = write_config(
        folder / "in" / "b.yaml",
        [model_entry("llama-random")],
        [{"id": source, "kind": "file", "path": "printed.jsonl"}],
        [HEADS, SCORES],
    )
    for number, path in enumerate((config, again)):
        must("run", path, "--out", folder / "out" / f"{number}.h5")
    first, second = (must("export", folder / "out" / f"{i}.h5").out for i in (0, 1))
    assert first == second and first.count("\n") > 100
    assert must("prompts", again).out == printed


def test_prompts_are_those_of_the_file():
    """Ids are used as they are."""
    path = GOLDEN / "prompts" / "random_llama.jsonl"
    assert [json.loads(line)["tokens"] for line in path.read_text().splitlines()][0] == [32]


def test_export_into_a_closed_pipe_ends_quietly(made):
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" export "$1" | head -n 1', program(), str(made[1])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("run,model,prompts")
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["export", "status", "verify"])
def test_full_output_is_an_error(made, command):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [program(), command, str(made[1])],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == RESOURCE
    assert done.stderr.startswith("mechsweep:")


def test_closed_standard_descriptors_do_no_harm(made, folder):
    """No log line may land in a file that got the number of standard error."""
    command = ["bash", "-c", '"$0" run "$1" --out "$2" <&- >&- 2>&-', program(), made[0]]
    assert subprocess.run([*command, folder / "out" / "r.h5"], check=False).returncode == DONE
    assert must("verify", folder / "out" / "r.h5").out == must("verify", made[1]).out
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {"r.h5", "r.meta"}


def test_paths_are_relative_to_the_config_and_names_may_be_odd(folder):
    """Spaces, letters beyond ASCII, symbolic links and another working folder."""
    odd = folder / "in" / "größe 5 %n {} 'x'"
    odd.mkdir()
    (odd / "modèl").symlink_to(CHECKPOINTS / "llama-random")
    prompts = (GOLDEN / "prompts" / "random_llama.jsonl").read_text()
    (odd / "my prompts.jsonl").write_text(prompts)
    config = write_config(
        odd / "my sweep.yaml",
        [{"id": "m", "path": "modèl"}],
        [{"id": "p", "kind": "file", "path": "my prompts.jsonl"}],
        [SCORES],
        output={"file": "ignored.h5"},
    )
    (folder / "out" / "link.yaml").symlink_to(config)
    must("run", config, "--out", "résult %s {}.h5", cwd=odd)
    must("run", f"../in/{odd.name}/my sweep.yaml", "--out", "plain.h5", cwd=folder / "out")
    a = must("export", odd / "résult %s {}.h5").out
    assert a == must("export", folder / "out" / "plain.h5").out
    assert "{}" in must("status", "résult %s {}.h5", cwd=odd).out
