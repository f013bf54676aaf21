"""Damaged and hostile results files: named, mended where a copy is, never followed."""

import contextlib
import os
import shutil
import stat
import struct
import subprocess

import h5py
import pytest
from system_program import (
    DONE,
    INPUT,
    INTERRUPTED,
    RESOURCE,
    digest,
    model_entry,
    mpirun,
    must,
    program,
    prompt_file,
    run,
    write_config,
)

RUN = "heads/llama-random/random_llama"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A folder with sweep.yaml, r.h5 and its summary."""
    folder = tmp_path_factory.mktemp("clean")
    heads = {"id": "heads", "kind": "head_ablation", "operation": "zero", "positions": "targets"}
    config = write_config(
        folder / "sweep.yaml",
        [model_entry("llama-random")],
        [prompt_file("random_llama")],
        [heads],
    )
    must("run", config, "--out", folder / "r.h5")
    must("reduce", folder / "r.h5")
    return folder


@pytest.fixture
def sweep(clean, tmp_path):
    """A copy to damage."""
    return shutil.copytree(clean, tmp_path / "sweep")


def resume(folder):
    return run("run", folder / "sweep.yaml", "--out", folder / "r.h5")


def overwrite(path, offset: int, content: bytes):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def offset_of(results, dataset: str) -> int:
    with h5py.File(results, locking=False) as file:
        return file[dataset].id.get_offset()


def damage_metadata(results):
    """The name of the run's group, which HDF5 reads without complaint."""
    at = results.read_bytes().index(b"random_llama\0")
    overwrite(results, at, b"rondom_llama")


def test_a_damaged_unit_is_named_and_computed_anew(clean, sweep):
    results = sweep / "r.h5"
    overwrite(results, offset_of(results, f"runs/{RUN}/loss"), b"\x01\x02\x03")
    verified = run("verify", results)
    assert verified.status == INPUT
    assert "damaged   unit 0 (" in verified.out or "damaged   unit 1 (" in verified.out
    for command in ("export", "reduce"):
        refused = run(command, results)
        assert refused.status == INPUT and refused.out == ""
        assert "units are damaged" in refused.err and "computes just these anew" in refused.err
    resumed = resume(sweep)
    assert resumed.status == DONE
    assert digest(results) == digest(clean / "r.h5")
    assert must("export", results).out == must("export", clean / "r.h5").out


def test_a_damaged_journal_entry_is_named_and_its_unit_computed_anew(clean, sweep):
    results = sweep / "r.h5"
    overwrite(results, offset_of(results, "journal") + 20, b"\xff")
    verified = run("verify", results)
    assert verified.status == INPUT and "the journal entry of unit 0 (" in verified.out
    assert run("export", results).status == INPUT
    assert run("status", results).status == INTERRUPTED
    assert resume(sweep).status == DONE
    assert digest(results) == digest(clean / "r.h5")


def test_damaged_metadata_are_named_and_restored(clean, sweep):
    results = sweep / "r.h5"
    damage_metadata(results)
    verified = run("verify", results)
    assert verified.status == INPUT and "metadata in bytes" in verified.out
    for outcome in (resume(sweep), run("export", results), run("reduce", results)):
        assert outcome.status == INPUT
        assert f"'mechsweep verify --restore {results}' writes them back" in outcome.err
    restored = must("verify", "--restore", results)
    assert "restored" in restored.out
    assert results.read_bytes() == (clean / "r.h5").read_bytes()


def test_without_its_copy_damage_of_metadata_shows_too(sweep):
    results = sweep / "r.h5"
    damage_metadata(results)
    (sweep / "r.meta").unlink()
    for arguments in (["verify"], ["status"], ["export"], ["reduce"], ["inspect"]):
        outcome = run(*arguments, results)
        assert outcome.status == INPUT and "damaged" in outcome.err
    assert resume(sweep).status == INPUT
    refused = run("verify", "--restore", results)
    assert refused.status == INPUT and "nothing can be restored" in refused.err


def test_a_stale_copy_does_not_make_a_good_file_unreadable(clean, sweep):
    results, meta = sweep / "r.h5", sweep / "r.meta"
    good = meta.read_bytes()
    shutil.copy(sweep / "r.summary.meta", meta)
    assert must("export", results).out == must("export", clean / "r.h5").out
    assert resume(sweep).status == DONE
    assert run("verify", results).status == INPUT
    restored = must("verify", "--restore", results)
    assert "that of another file" in restored.out
    assert meta.read_bytes() == good


def test_a_file_that_crashes_the_reader_is_one_sentence(sweep):
    """A B-tree that says it is its own child sends HDF5 round in circles."""
    results = sweep / "r.h5"
    (sweep / "r.meta").unlink()
    content = bytearray(results.read_bytes())
    tree = content.index(b"TREE")
    content[tree + 5] = 9  # levels
    struct.pack_into("<Q", content, tree + 32, tree)  # first child
    results.write_bytes(content)
    for command in ("verify", "status", "export", "inspect", "reduce"):
        outcome = run(command, results, environment={"MECHSWEEP_READ_SECONDS": "2"})
        assert outcome.status == INPUT, outcome
        assert len(outcome.complaints) == 1 and str(results) in outcome.complaints[0]


def plant(path, kind: str, victim):
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
        (path / "x").touch()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
@pytest.mark.parametrize("name", ["r.lock", "r.meta", "r.stop", "r.h5", ".r.abc123.tmp"])
def test_planted_names_are_refused_or_replaced_and_never_followed(sweep, tmp_path, name, kind):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for file in ("r.h5", "r.meta"):
        (sweep / file).unlink()
    plant(sweep / name, kind, victim)
    outcome = resume(sweep)
    assert outcome.status in (DONE, RESOURCE, INPUT), outcome
    if outcome.status != DONE:
        assert len(outcome.complaints) == 1 and name in outcome.complaints[0]
    elif name != ".r.abc123.tmp":
        assert not (sweep / name).is_symlink()
    assert victim.read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sweep", "victim"]


@pytest.mark.parametrize("name", ["r.summary.h5", "r.summary.csv", "r.summary.json"])
@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_reduce_does_not_write_elsewhere_either(sweep, tmp_path, name, kind):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    plant(sweep / name, kind, victim)
    outcome = run("reduce", sweep / "r.h5")
    assert outcome.status in (DONE, RESOURCE, INPUT), outcome
    assert victim.read_bytes() == b"precious"


def test_a_results_file_behind_a_link_is_read_but_not_written(clean, tmp_path):
    linked = tmp_path / "r.h5"
    linked.symlink_to(clean / "r.h5")
    before = (clean / "r.h5").read_bytes()
    assert digest(linked) == digest(clean / "r.h5")
    outcome = run("run", clean / "sweep.yaml", "--out", linked)
    assert outcome.status == RESOURCE and "is a symbolic link" in outcome.err
    assert (clean / "r.h5").read_bytes() == before


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_modes_of_new_files_are_those_of_the_umask(clean, tmp_path, mask):
    command = [program(), "run", str(clean / "sweep.yaml"), "--out", str(tmp_path / "r.h5")]
    subprocess.run(command, check=True, umask=mask, capture_output=True, timeout=60)
    subprocess.run(
        [program(), "reduce", str(tmp_path / "r.h5")],
        check=True,
        umask=mask,
        capture_output=True,
        timeout=60,
    )
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 6
    assert set(modes.values()) == {0o666 & ~mask}, modes


@pytest.mark.parametrize("ranks", [None, 2])
def test_no_secret_of_the_environment_is_written_or_printed(clean, tmp_path, ranks):
    secret = "sEcReT-0123456789-token"
    planted = {name: secret for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_API_KEY", "X")}
    results = tmp_path / "r.h5"
    config = write_config(
        tmp_path / "bad.yaml", [model_entry("nowhere")], [prompt_file("random_llama")], []
    )
    start = run if ranks is None else lambda *a, **k: mpirun(ranks, *a, **k)
    outcomes = [
        start(
            "--log-level",
            "trace",
            "run",
            clean / "sweep.yaml",
            "--out",
            results,
            environment=planted,
        ),
        start("run", config, "--out", tmp_path / "none.h5", environment=planted),
        start("--log-level", "trace", "reduce", results, environment=planted),
    ]
    outcomes += [
        run(command, results, environment=planted)
        for command in ("verify", "status", "inspect", "export")
    ]
    assert outcomes[0].status == DONE and outcomes[2].status == DONE
    for outcome in outcomes:
        assert secret not in outcome.out + outcome.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        assert secret.encode() not in path.read_bytes(), path
