"""A model's certificate: printed by `inspect --certify`, made and stored by every run."""

import json
import shutil

import h5py
import pytest
from refusals import GENERATED, HEADS, LLAMA, SCORES, check_refused, snapshot
from system_program import (
    CHECKPOINTS,
    DONE,
    GOLDEN,
    INPUT,
    USAGE,
    digest,
    journal,
    must,
    run,
    status_counts,
    write_config,
)

CHECKS = ["no_op", "batch", "executors", "zeroed", "direct", "reference"]
REFERENCE = GOLDEN / "references" / "llama-random.json"
MODEL = CHECKPOINTS / "llama-random"


def certificates(results):
    """Of every launch, as stored."""
    with h5py.File(results, "r", locking=False) as file:
        records = [bytes(record).split(b"\0")[0] for record in file["attempts"][()]]
    return [json.loads(record).get("certificates") for record in records if record]


def changed_reference(folder, **changes):
    reference = json.loads(REFERENCE.read_text()) | changes
    path = folder / "in" / "changed.json"
    path.write_text(json.dumps(reference))
    return path


def wrong_reference(folder):
    heads = json.loads(REFERENCE.read_text())["heads"]
    heads[1]["delta_loss"][2] += 0.25
    return changed_reference(folder, heads=heads)


def sweep(folder, models, **other):
    return write_config(folder / "in" / "sweep.yaml", models, [GENERATED], [SCORES, HEADS], **other)


def test_inspect_says_every_check_and_a_verdict():
    lines = must("inspect", "--certify", MODEL).out.splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == CHECKS
    assert [line.split()[0] for line in lines[1:-1]] == ["ok"] * 5 + ["skipped"]
    assert lines[-1].startswith("certificate passed; no reference was given")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("executor", ["naive", "wavefront"])
def test_inspect_as_json_with_a_reference(dtype, executor):
    options = ("--dtype", dtype, "--executor", executor, "--threads", 2, "--json")
    outcome = must("inspect", "--certify", "--reference", REFERENCE, *options, MODEL)
    said = json.loads(outcome.out)
    assert said["outcome"] == "passed" and said["executor"] == executor
    assert said["reference"].startswith("llama-random.json (transformers ")
    assert [check["name"] for check in said["checks"]] == CHECKS
    for check in said["checks"][3:]:
        assert 0 < check["worst"] < check["bound"]
    # Rounding to bfloat16 is seen by the reference, and by nothing that follows it.
    assert (said["checks"][-1]["worst"] > 1e-4) == (dtype == "bfloat16")


def test_inspect_fails_where_the_reference_says_something_else(folder):
    outcome = run("inspect", "--certify", "--reference", wrong_reference(folder), MODEL)
    assert outcome.status == INPUT
    assert "FAILED   reference  worst 0.25, bound 0.0001" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("certificate FAILED: check 'reference'")


def test_a_reference_of_another_model_is_refused(folder):
    other = CHECKPOINTS / "gpt2-random"
    arguments = ("inspect", "--certify", "--reference", REFERENCE, other)
    check_refused(folder, arguments, INPUT, ("llama-random.json", "shape"))
    copied = folder / "in" / "model"
    shutil.copytree(MODEL, copied)
    config = json.loads((copied / "config.json").read_text()) | {"bos_token_id": 3}
    (copied / "config.json").write_text(json.dumps(config))
    arguments = ("inspect", "--certify", "--reference", REFERENCE, copied)
    check_refused(folder, arguments, INPUT, ("llama-random.json", "config.json", "SHA-256"))


def test_options_of_a_certificate_need_one(folder):
    check_refused(folder, ("inspect", "--dtype", "bfloat16", MODEL), USAGE, ("--certify",))


def test_a_run_stores_certificates_and_status_prints_them(folder):
    models = [LLAMA | {"reference": str(REFERENCE)}, {"id": "g", "path": LLAMA["path"]}]
    config, results = sweep(folder, models), folder / "out" / "r.h5"
    must("run", config, "--out", results)
    (stored,) = certificates(results)
    assert set(stored) == {"m", "g"}
    assert stored["m"]["outcome"] == stored["g"]["outcome"] == "passed"
    assert set(stored["m"]["measured"]) == {"zeroed", "direct", "reference"}
    assert stored["g"]["reference"] == "none"
    said = must("status", results).out
    assert "certified m: passed, reference llama-random.json (transformers" in said
    assert "certified g: passed, no reference" in said
    status, counts = status_counts(results)
    assert status == DONE
    assert counts["certificates"]["g"] == {"passed": True, "reference": "none"}


def test_nothing_is_certified_when_nothing_is_left(folder):
    config, results = sweep(folder, [LLAMA]), folder / "out" / "r.h5"
    must("run", config, "--out", results)
    before = digest(results)
    # A reference is no part of the sweep's key, and is not looked at for nothing.
    config = sweep(folder, [LLAMA | {"reference": "missing.json"}])
    must("run", config, "--out", results)
    first, second = certificates(results)
    assert first and second is None
    assert digest(results) == before
    assert "certified m: passed, no reference" in must("status", results).out


@pytest.mark.parametrize("ranks", [None, 2])
def test_a_wrong_reference_refuses_the_run_before_anything_is_written(folder, ranks):
    models = [{"id": "g", "path": LLAMA["path"]}, LLAMA | {"reference": "changed.json"}]
    config, results = sweep(folder, models), folder / "out" / "r.h5"
    wrong_reference(folder)
    before = snapshot(folder)
    outcome = run("run", config, "--out", results, ranks=ranks)
    assert outcome.status == INPUT
    assert len(outcome.complaints) == 1
    for word in ("model 'm'", "check 'reference'", "0.25"):
        assert word in outcome.complaints[0]
    left = set(snapshot(folder)) - set(before)
    assert not {path.name for path in left} & {"r.h5", "r.meta"}
    assert not [path for path in left if path.name.endswith(".tmp")]
    # Put right, the same command runs.
    must("run", sweep(folder, [models[0], LLAMA]), "--out", results, ranks=ranks)


def test_a_wrong_reference_leaves_a_begun_file_resumable(folder):
    config, results = sweep(folder, [LLAMA]), folder / "out" / "r.h5"
    must("run", config, "--out", results)
    whole = digest(results)
    with h5py.File(results, "r+", locking=False) as file:
        file["journal"][0, :] = 0
    slots = journal(results)
    wrong_reference(folder)
    config = sweep(folder, [LLAMA | {"reference": "changed.json"}])
    assert run("run", config, "--out", results, ranks=2).status == INPUT
    assert (journal(results) == slots).all()
    assert len(certificates(results)) == 1
    must("run", sweep(folder, [LLAMA]), "--out", results)
    assert digest(results) == whole
