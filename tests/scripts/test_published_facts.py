"""published_facts.py: models by their sizes, and which facts hold, on summaries made here."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "published_facts.py"
FACTS = json.loads((ROOT / "scripts" / "published_facts.json").read_text(encoding="utf-8"))
sys.path.insert(0, str(ROOT / "tests" / "analysis"))

from summary_writer import SummaryWriter  # noqa: E402

SMOLLM2 = """\
path               /models/x.gguf
architecture       llama (Llama 1 to 3 and SmolLM: rotary positions, gated SiLU MLP)
d_model            576
n_heads            9
n_kv_heads         3
n_layers           30
"""
PYTHIA = """\
architecture       gpt_neox (GPT-NeoX and Pythia)
d_model            512
n_heads            8
n_layers           6
"""
# The published table itself, in the order of its effects.
TABLE = {
    (2, 5): 1.448,
    (1, 1): 0.468,
    (3, 0): 0.408,
    (0, 6): 0.355,
    (1, 0): 0.311,
    (5, 7): 0.270,
    (1, 3): 0.242,
    (3, 5): 0.185,
    (2, 7): 0.168,
    (2, 6): 0.164,
}


def run(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def inspected(folder, text):
    path = folder / "inspect.txt"
    path.write_text(text, encoding="utf-8")
    return path


def scores(path, changes):
    """A summary with the scores that SmolLM2-135M is known for, but for `changes`."""
    values = {
        name: np.zeros((30, 9)) for name in ("induction", "previous_token", "duplicate_token")
    }
    for layer, head, score in ((18, 6, 0.93), (17, 4, 0.86), (17, 5, 0.8), (17, 3, 0.79)):
        values["induction"][layer, head] = score
    values["induction"][23, 2] = 0.56
    values["previous_token"][16, 0] = 0.905
    values["duplicate_token"][14, 3] = 0.7
    for name, layer, head, score in changes:
        values[name][layer, head] = score
    with SummaryWriter(path) as writer:
        axes = {"layer": list(range(30)), "head": list(range(9))}
        group = writer.run("scores/smollm2-135m/repeat", axes, kind="attention_scores")
        for name, array in values.items():
            writer.metric(group, name, ["layer", "head"], array, units="1")
    return path


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ([], 0, "4 of 4 facts hold."),
        # Another order among the four is no difference.
        ([("induction", 17, 3, 0.99)], 0, "4 of 4 facts hold."),
        ([("induction", 23, 2, 0.85)], 1, "not L17H3"),
        ([("previous_token", 16, 0, 0.8)], 1, "DOES NOT HOLD  previous_token of L16H0 is 0.91"),
        ([("duplicate_token", 3, 3, 0.9)], 1, "(here: L3H3 0.900; not L14H3)"),
    ],
)
def test_scores_are_compared_by_set(tmp_path, changes, status, said):
    summary = scores(tmp_path / "x.summary.h5", changes)
    code, out, err = run("compare", inspected(tmp_path, SMOLLM2), summary)
    assert (code, err) == (status, "")
    assert said in out
    assert out.startswith("SmolLM2-135M, recognised by its sizes")
    assert out.count("DOES NOT HOLD") == (1 if status else 0)


def ranking(path, effects):
    """A summary of ablations: `effects` by (noise pool, operation), heads else at -0.01."""
    with SummaryWriter(path) as writer:
        for pool in ("letters", "vocabulary"):
            operations = ["zero", "value_bias"]
            axes = {"layer": list(range(6)), "head": list(range(8)), "operation": operations}
            group = writer.run(f"heads/pythia-70m-deduped/{pool}_noise", axes)
            values = np.full((6, 8, 2), -0.01)
            for place, operation in enumerate(operations):
                for (layer, head), effect in effects.get((pool, operation), {}).items():
                    values[layer, head, place] = effect
            writer.metric(group, "delta_loss", list(axes), values)
    return path


def test_the_published_table_holds_for_whichever_way_of_removing_heads_fits_it(tmp_path):
    rank = inspected(tmp_path, PYTHIA)
    summary = ranking(tmp_path / "x.summary.h5", {("vocabulary", "value_bias"): TABLE})
    code, out, err = run("compare", rank, summary)
    assert (code, err) == (0, "")
    assert "2 of 2 facts hold." in out
    assert "value_bias, vocabulary noise: 10, L2H5, L1H1" in out
    # The mean and the median of the published ten, as they are published beside the table.
    assert "(here: 10 of 48, 0.402 and 0.290)" in out


def test_another_ranking_does_not_hold(tmp_path):
    other = {(layer, 2): 2.0 - layer / 10 for layer in range(6)}
    both = {**TABLE, **other}
    summary = ranking(tmp_path / "x.summary.h5", {("letters", "zero"): both})
    code, out, _ = run("compare", inspected(tmp_path, PYTHIA), summary)
    assert code == 1
    assert "(here, zero, letters noise: 4, L2H5, L1H1, L3H0, L0H6)" in out
    assert "(here: L0H2, 2.000)" in out


def test_every_model_is_recognised_by_its_own_sizes_only(tmp_path):
    for model in FACTS["models"]:
        facts = "".join(f"{name:18} {value}\n" for name, value in model["match"].items())
        code, out, err = run("config", inspected(tmp_path, facts), "/m", "--out", tmp_path)
        assert (code, err) == (0, "")
        text = Path(out.strip() + ".yaml").read_text(encoding="utf-8")
        assert f"the published facts of {model['name']} need" in text
        assert f"prefix: {model['prefix']}" in text


def test_a_model_without_facts_is_one_sentence(tmp_path):
    facts = inspected(tmp_path, SMOLLM2.replace("30", "32"))
    code, out, err = run("config", facts, "/m", "--out", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "architecture llama, n_layers 32, n_heads 9, d_model 576" in err
    assert "SmolLM2-135M" in err


def test_a_summary_of_something_else_is_one_sentence(tmp_path):
    summary = ranking(tmp_path / "x.summary.h5", {})
    code, out, err = run("compare", inspected(tmp_path, SMOLLM2), summary)
    assert (code, err.count("\n")) == (3, 1)
    assert "has no induction of an experiment scores" in err
    code, _, err = run("compare", inspected(tmp_path, SMOLLM2), tmp_path / "none.summary.h5")
    assert (code, err.count("\n")) == (3, 1)


def test_facts_of_the_ranking_are_those_of_its_table():
    (fact,) = next(m["facts"] for m in FACTS["models"] if m["name"] == "Pythia-70m-deduped")
    assert {(layer, head): effect for layer, head, effect in fact["top"]} == TABLE
    effects = [effect for _, _, effect in fact["top"]]
    assert effects == sorted(effects, reverse=True)
    assert np.mean(effects) == pytest.approx(fact["top_mean"], abs=5e-4)
    assert np.median(effects) == pytest.approx(fact["top_median"], abs=1e-3)
