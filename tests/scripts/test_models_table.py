"""models_table.py: the page of this checkout, and a small one whose numbers are known."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "models_table.py"
BEGIN = "<!-- written by scripts/models_table.py: begin -->"
END = "<!-- written by scripts/models_table.py: end -->"


def run(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def checkpoint(name, architecture, delta, site):
    return {
        "name": name,
        "architecture": architecture,
        "formats": "safetensors, GGUF",
        "logit_difference_relative": delta / 10,
        "loss_difference": 3e-6,
        "delta_loss_difference": delta,
        "site_loss_difference": site,
        "pattern_difference": 2e-7,
        "bfloat16_delta_loss_of_spread": 0.5,
    }


def spread(value):
    return {"min": value, "median": value, "max": value}


def tokenizer(file, ids, refused):
    zero = {"texts_differ": 0, "offsets_differ": 0, "put_in_space": 7, "joined_characters": 1}
    return {"file": file, "lines": 120000, "ids_differ": ids, "refused": refused} | zero


@pytest.fixture
def small(tmp_path):
    """Two llamas and a gpt2."""
    measured = [
        checkpoint("a", "llama", 4e-6, 1e-6),
        checkpoint("b", "llama", 2e-6, 9.5e-6),
        checkpoint("c", "gpt2", 1e-6, 1e-6),
    ]
    model = "SmolLM2-135M-Instruct.Q4_1.gguf"
    sides = {
        "mechsweep, 1 thread": {"load_s": spread(1.2), "peak_mib": spread(830.0)},
        "mechsweep, 2 threads": {"load_s": spread(0.731), "peak_mib": spread(828.7)},
        "transformers, 2 threads": {"load_s": spread(9.876), "peak_mib": spread(2000.4)},
    }
    loading = {"model": model, "summary": sides}
    rows = [{"number": "base loss, nats", "mechsweep": 2.6e-5, "transformers": 7.3e-6}]
    tokenizers = [
        tokenizer("tests/golden/tokenizers/gpt2-style/tokenizer.json", 0, 0),
        tokenizer(f"models/smollm2-135m/{model}", 2, 31),
    ]
    files = {
        "benchmarks/results/architectures.json": {"checkpoints": measured},
        "benchmarks/results/loading.json": {"models": [loading]},
        "benchmarks/results/parity.json": {
            "models": [{"title": "SmolLM2-135M", "model": model, "rows": rows}]
        },
        "tests/golden/tokenizer_parity.json": {"tokenizers": tokenizers},
        "tests/golden/architectures/list.json": {"checkpoints": [{"name": n} for n in "abc"]},
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/models.md").write_text(f"before\n\n{BEGIN}\nof yesterday\n{END}\n\nafter\n")
    return tmp_path


def test_the_page_of_this_checkout_is_what_the_files_say():
    assert run("--check") == (0, "")


def test_tables_have_the_worst_of_each_architecture(small):
    assert run("--root", small) == (0, "")
    page = (small / "docs/models.md").read_text()
    assert page.startswith(f"before\n\n{BEGIN}\n") and page.endswith(f"{END}\n\nafter\n")
    assert "yesterday" not in page
    rows = [line for line in page.splitlines() if line.startswith("| llama ")]
    assert rows == [
        "| llama | 2 | 4.0e-7 | 9.5e-6 | safetensors, GGUF | 2 of 120,000 lines | 0.73 | 829 |"
    ]
    assert "| gpt2 | 1 | 1.0e-7 | 1.0e-6 | safetensors, GGUF | 0 of 120,000 lines | - | - |" in page
    assert "| SmolLM2-135M | 120,000 | 2 | 0 | 0 | 31 |" in page
    assert "| SmolLM2-135M | transformers, 2 threads | 9.88 | 2000 |" in page
    assert "| base loss, nats | 2.6e-05 | 7.3e-06 |" in page
    assert run("--root", small, "--check") == (0, "")


def test_a_page_or_a_list_that_does_not_fit_is_noticed(small):
    status, said = run("--root", small, "--check")
    assert status == 1 and "docs/models.md is not what" in said
    assert run("--root", small)[0] == 0
    (small / "tests/golden/architectures/list.json").write_text(
        json.dumps({"checkpoints": [{"name": n} for n in "abcd"]})
    )
    status, said = run("--root", small, "--check")
    assert status == 1 and "differ in d;" in said


def test_what_is_missing_is_named(small):
    (small / "benchmarks/results/parity.json").unlink()
    status, said = run("--root", small, "--check")
    assert status == 1 and "benchmarks/results/parity.json is missing" in said
    (small / "docs/models.md").write_text("no comments\n")
    status, said = run("--root", small)
    assert status == 1 and "has not the two comments" in said


def stand_in(folder, noted):
    """A program that writes a report like that of engine_tests."""
    report = {"testsuites": [{"testsuite": [*noted, {"name": "Other"}]}]}
    (folder / "report.json").write_text(json.dumps(report))
    program = folder / "engine_tests"
    program.write_text(f'#!/bin/sh\ncp {folder}/report.json "${{GTEST_OUTPUT#json:}}"\n')
    program.chmod(0o755)
    return program


def notes():
    """Two tests for each checkpoint; numbers are texts, as Googletest writes properties."""
    for name in "abc":
        own = {"checkpoint": name, "architecture": "opt", "formats": "safetensors"}
        first = {"logit_difference_relative": "1.500e-07", "loss_difference": "2e-06"}
        second = {f"{k}_difference": "3e-06" for k in ("delta_loss", "site_loss", "pattern")}
        yield {"name": f"Logits/{name}", "other": "x"} | own | first
        yield {"name": f"Rest/{name}"} | own | second


def test_measuring_keeps_what_the_tests_note(small):
    program = stand_in(small, notes())
    assert run("--root", small, "--measure", "--engine-tests", program) == (0, "")
    content = json.loads((small / "benchmarks/results/architectures.json").read_text())
    assert content["checkpoints"][2] == {
        "name": "c",
        "architecture": "opt",
        "formats": "safetensors",
        "logit_difference_relative": 1.5e-7,
        "loss_difference": 2e-6,
        "delta_loss_difference": 3e-6,
        "site_loss_difference": 3e-6,
        "pattern_difference": 3e-6,
    }
    page = (small / "docs/models.md").read_text()
    assert "| opt | 3 | 1.5e-7 | 3.0e-6 | safetensors |" in page


def test_failing_or_missing_tests_make_no_table(small):
    noted = list(notes())
    noted[2]["failures"] = [{"failure": "off"}]
    status, said = run("--root", small, "--measure", "--engine-tests", stand_in(small, noted))
    assert status == 1 and "Logits/b fails" in said
    program = stand_in(small, list(notes())[:-1])
    status, said = run("--root", small, "--measure", "--engine-tests", program)
    assert status == 1 and "no test notes the delta_loss_difference of c" in said
    assert "yesterday" in (small / "docs/models.md").read_text()
