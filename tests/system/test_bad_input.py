"""Whatever is wrong with an input, the program says so in one sentence, returns the documented
status and leaves nothing behind; under mpirun just the same, and once, not once a rank."""

import json
import os
import subprocess

import h5py
import numpy as np
import pytest
from refusals import GENERATED, HEADS, LLAMA, PATCH, SCORES, check_refused, config_of, snapshot
from system_program import INPUT, RESOURCE, USAGE, must, program

# --- prompts -----------------------------------------------------------------------------------

GOOD = {"tokens": [5, 6, 7, 5, 6], "targets": [{"at": -1, "answer": 7, "wrong": [8]}], "id": "good"}


def line(**changes) -> str:
    return json.dumps({k: v for k, v in (GOOD | changes).items() if v is not ...})


BAD_LINES = {
    "id outside the vocabulary": (line(tokens=[5, 101]), ["101", ":2"]),
    "negative id": (line(tokens=[5, -1]), ["-1", ":2"]),
    "id that is no integer": (line(tokens=[5, 1.5]), [":2"]),
    "id of 2^63": (line(tokens=[2**63]), [":2"]),
    "answer outside the vocabulary": (line(targets=[{"at": -1, "answer": 500}]), ["500", ":2"]),
    "empty prompt": (line(tokens=[]), [":2"]),
    "neither ids nor text": (line(tokens=...), [":2", "tokens"]),
    "text without a tokenizer": (line(tokens=..., text="hello"), [":2", "tokenizer"]),
    "corrupt partner of another length": (line(corrupt_tokens=[1, 2]), [":2", "equally long"]),
    "corrupt id outside the vocabulary": (line(corrupt_tokens=[1, 2, 3, 4, 999]), ["999", ":2"]),
    "target outside the prompt": (line(targets=[{"at": 5, "answer": 7}]), [":2", "5"]),
    "target before the prompt": (line(targets=[{"at": -6, "answer": 7}]), [":2", "-6"]),
    "two targets at one place": (
        line(targets=[{"at": 4, "answer": 7}, {"at": -1, "answer": 6}]),
        [":2"],
    ),
    "answer among the wrong": (line(targets=[{"at": -1, "answer": 7, "wrong": [7]}]), [":2"]),
    "span outside the prompt": (line(spans={"a": [3, 6]}), [":2", "a"]),
    "span backwards": (line(spans={"a": [3, 2]}), [":2", "a"]),
    "pair outside the prompt": (line(pairs={"c": [[5, 0]]}), [":2", "c"]),
    "pair that looks ahead": (line(pairs={"c": [[0, 3]]}), [":2", "c"]),
    "unknown key": (line(answers=7), [":2", "answers", "answer"]),
    "not JSON": ("{tokens: [1]}", [":2"]),
    "half a line": ('{"tokens": [1, 2', [":2"]),
    "a list": ("[1, 2, 3]", [":2"]),
    "nested deeply": ("[" * 100000, [":2"]),
    "not UTF-8": ('{"tokens": [1], "id": "\udcff"}', []),
}


def prompt_set(folder, *lines):
    text = "".join(one + "\n" for one in lines)
    (folder / "in" / "p.jsonl").write_text(text, encoding="utf-8", errors="surrogateescape")
    return [{"id": "p", "kind": "file", "path": "p.jsonl"}]


@pytest.mark.parametrize("case", BAD_LINES)
def test_prompt_file(folder, case):
    bad, words = BAD_LINES[case]
    config = config_of(folder, prompts=prompt_set(folder, line(), bad), experiments=[HEADS])
    arguments = ("run", config, "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, INPUT, ["p.jsonl", *words])


@pytest.mark.parametrize("case", ["id outside the vocabulary", "corrupt partner of another length"])
def test_prompt_file_under_mpirun(folder, case):
    bad, words = BAD_LINES[case]
    config = config_of(folder, prompts=prompt_set(folder, line(), bad), experiments=[HEADS])
    arguments = ("run", config, "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, INPUT, ["p.jsonl", *words], ranks=2)


BAD_SETS = {
    "empty prompt file": ([], [HEADS], INPUT, ["p.jsonl"]),
    "no targets": ([line(targets=...)], [HEADS], INPUT, ["target"]),
    "no corrupt partner": ([line()], [PATCH], INPUT, ["corrupt"]),
    "position outside a prompt": ([line()], [HEADS | {"positions": [5]}], INPUT, ["5", "good"]),
    "position before a prompt": ([line()], [HEADS | {"positions": [-6]}], INPUT, ["-6", "good"]),
    "span that no prompt has": ([line()], [HEADS | {"positions": "swapped"}], INPUT, ["swapped"]),
    "layer outside the model": ([line()], [HEADS | {"layers": "0..3"}], USAGE, ["3"]),
    "head outside the model": ([line()], [HEADS | {"heads": ["L0H4"]}], USAGE, ["L0H4"]),
    "score without pairs": ([line()], [SCORES | {"scores": ["copy"]}], USAGE, ["copy"]),
}


@pytest.mark.parametrize(
    "case, ranks", [*((case, None) for case in BAD_SETS), ("position outside a prompt", 2)]
)
def test_experiment_that_prompts_or_model_do_not_bear(folder, case, ranks):
    lines, experiments, status, words = BAD_SETS[case]
    config = config_of(folder, prompts=prompt_set(folder, *lines), experiments=experiments)
    arguments = ("run", config, "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, status, words, ranks=ranks)


def test_missing_prompt_file(folder):
    config = config_of(folder, prompts=[{"id": "p", "kind": "file", "path": "gone.jsonl"}])
    arguments = ("run", config, "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, INPUT, ["gone.jsonl"])


WORDS = {"kind": "names", "count": 2, "lags": [1, 2], "seq_len": 8, "path": "words.txt"}
COPY = {"kind": "unique_copy", "count": 2, "length": 4, "examples": 0, "separator": 5}

BAD_GENERATED = {
    "words without a tokenizer": (WORDS, USAGE, ["'m'", "tokenizer", "words"]),
    "no list of words": (WORDS | {"path": "gone.txt"}, INPUT, ["gone.txt"]),
    "a word that is two": (WORDS | {"path": "two.txt"}, INPUT, ["two.txt:2", "Mary Ann"]),
    "a lag that leaves no target": (WORDS | {"lags": [1, 7]}, USAGE, ["lag of 7", "seq_len"]),
    "fewer prompts than lags": (WORDS | {"lags": [1, 2, 4]}, USAGE, ["count", "at least 3"]),
    "longer than the model takes": (
        COPY | {"examples": 7, "example_separator": 6},
        USAGE,
        ["79", "64"],
    ),
    "a separator that is no token": (COPY | {"separator": 101}, USAGE, ["separator", "101"]),
    "a text as separator": (COPY | {"separator": " ->"}, USAGE, ["separator", "tokenizer"]),
    "letters without a tokenizer": (COPY | {"pool": "letters"}, USAGE, ["letters", "tokenizer"]),
    "no separator of examples": (COPY | {"examples": 1}, USAGE, ["example_separator"]),
}


@pytest.mark.parametrize("case", BAD_GENERATED)
def test_generated_prompts(folder, case):
    changes, status, words = BAD_GENERATED[case]
    (folder / "in" / "words.txt").write_text("Anna\nBob\nCarl\n")
    (folder / "in" / "two.txt").write_text("Anna\nMary Ann\n")
    config = config_of(folder, prompts=[{"id": "p", "prefix": "none"} | changes])
    check_refused(folder, ("plan", config), status, words)


# --- configs -----------------------------------------------------------------------------------

BAD_CONFIGS = {
    "unknown key": ({"experimnts": []}, ["experimnts", "did you mean 'experiments'"]),
    "unknown key of an experiment": (
        {"experiments": [HEADS | {"postions": "all"}]},
        ["postions", "did you mean 'positions'"],
    ),
    "unknown key of a model": ({"models": [LLAMA | {"pth": "x"}]}, ["pth", "did you mean 'path'"]),
    "unknown kind": ({"experiments": [HEADS | {"kind": "head_ablaton"}]}, ["head_ablation"]),
    "unknown site": ({"experiments": [PATCH | {"site": "resid_pr"}]}, ["resid_pre"]),
    "unknown prompts": ({"experiments": [SCORES | {"prompts": ["q"]}]}, ["'q'"]),
    "no positions": (
        {"experiments": [{k: v for k, v in HEADS.items() if k != "positions"}]},
        ["positions"],
    ),
    "an id twice": ({"models": [LLAMA, LLAMA]}, ["'m'"]),
    "an id with a slash": ({"models": [LLAMA | {"id": "a/b"}]}, ["id"]),
    "no models": ({"models": []}, ["models"]),
    "no prefix": ({"prompts": [{k: v for k, v in GENERATED.items() if k != "prefix"}]}, ["prefix"]),
    "no prompts to make": ({"prompts": [GENERATED | {"count": 0}]}, ["count"]),
    "a huge count": ({"prompts": [GENERATED | {"count": 10**30}]}, ["count"]),
    "a negative period": ({"prompts": [GENERATED | {"period": -4}]}, ["period"]),
    "text for a number": ({"seed": "seven"}, ["seed"]),
    "a negative seed": ({"seed": -1}, ["seed"]),
    "memory for nothing": ({"execution": {"memory_gib": 0}}, ["memory_gib"]),
    "a million threads": ({"execution": {"threads_per_rank": 10**6}}, ["threads_per_rank"]),
    "a grid": ({"grid": {"a": [1]}}, ["grid"]),
    "a list in place of a map": ({"execution": []}, ["execution"]),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_config(folder, case):
    changes, words = BAD_CONFIGS[case]
    config = config_of(folder)
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    arguments = ("run", config, "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, USAGE, ["sweep.yaml", *words])


BAD_TEXTS = {
    "empty": b"",
    "comment only": b"# nothing\n",
    "not YAML": b"models: [\n",
    "scalar": b"hello\n",
    "tab": b"models:\n\t- a\n",
    "key twice": b"seed: 1\nseed: 2\n",
    "binary": bytes(range(256)),
    "zeros": b"\0" * 1000,
    "alias bomb": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (c + 1, c + 1, b",".join([b"*%c" % c] * 9)) for c in range(97, 110)
    ),
    "nested deeply": b"[" * 100000,
    "a tag": b"models: !!python/object/apply:os.system ['true']\n",
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_config_that_is_no_config(folder, case):
    (folder / "in" / "sweep.yaml").write_bytes(BAD_TEXTS[case])
    arguments = ("run", folder / "in" / "sweep.yaml", "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, USAGE, ["sweep.yaml"])


@pytest.mark.parametrize("ranks", [None, 2])
def test_missing_config(folder, ranks):
    arguments = ("run", folder / "in" / "gone.yaml", "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, USAGE, ["gone.yaml"], ranks=ranks)


@pytest.mark.parametrize("ranks", [None, 2])
def test_unknown_key_under_mpirun(folder, ranks):
    config = config_of(folder, experiments=[HEADS | {"postions": "all"}])
    arguments = ("run", config, "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, USAGE, ["postions"], ranks=ranks)


# --- the output --------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [None, 2])
def test_output_in_a_missing_folder(folder, ranks):
    arguments = ("run", config_of(folder), "--out", folder / "gone" / "r.h5")
    check_refused(folder, arguments, RESOURCE, ["gone"], ranks=ranks)


def test_output_is_a_folder(folder):
    (folder / "out" / "r.h5").mkdir()
    arguments = ("run", config_of(folder), "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, INPUT, ["r.h5"])


def test_output_below_a_file(folder):
    (folder / "out" / "file").touch()
    arguments = ("run", config_of(folder), "--out", folder / "out" / "file" / "r.h5")
    check_refused(folder, arguments, RESOURCE, ["r"])


@pytest.mark.parametrize("name", ["r.hdf5", "r", "", ".h5"])
def test_output_with_another_ending(folder, name):
    arguments = ["run", config_of(folder), "--out", f"{folder}/out/{name}" if name else ""]
    check_refused(folder, arguments, USAGE, [])


def test_no_output(folder):
    check_refused(folder, ["run", config_of(folder)], USAGE, ["--out"])


@pytest.mark.parametrize("ranks", [None, 2])
def test_output_in_a_folder_that_cannot_be_written(folder, ranks):
    """/proc refuses even root, for whom a read-only folder is none."""
    arguments = ("run", config_of(folder), "--out", "/proc/mechsweep_test.h5")
    check_refused(folder, arguments, RESOURCE, ["/proc"], ranks=ranks)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_output_in_a_read_only_folder(folder):
    (folder / "out").chmod(0o500)
    arguments = ("run", config_of(folder), "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, RESOURCE, ["r.h5"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only files")
def test_results_file_that_is_read_only(folder):
    must("run", config_of(folder), "--out", folder / "out" / "r.h5")
    (folder / "out" / "r.h5").chmod(0o400)
    arguments = ("run", config_of(folder), "--out", folder / "out" / "r.h5")
    check_refused(folder, arguments, RESOURCE, ["r.h5"])


def foreign_hdf5(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(10)


def truncated(path, share):
    config = config_of(path.parents[1])
    must("run", config, "--out", path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    path.with_suffix(".meta").unlink()


NOT_OURS = {
    "text": lambda path: path.write_text("loss,1.0\n" * 100),
    "empty": lambda path: path.touch(),
    "foreign HDF5": foreign_hdf5,
    "cut in the middle": lambda path: truncated(path, 0.5),
    "cut at the start": lambda path: truncated(path, 0.001),
    "zeros": lambda path: path.write_bytes(b"\0" * 4096),
    "signature only": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\xff" * 2048),
}


@pytest.mark.parametrize(
    "case, command",
    [(case, command) for case in NOT_OURS for command in ("run", "verify")]
    + [
        (case, c)
        for case in ("text", "foreign HDF5")
        for c in ("reduce", "export", "status", "inspect")
    ],
)
def test_results_file_that_is_not_ours(folder, case, command):
    path = folder / "out" / "r.h5"
    NOT_OURS[case](path)
    arguments = [command, path]
    if command == "run":
        arguments = ["run", config_of(folder), "--out", path]
    check_refused(folder, arguments, INPUT, ["r.h5"])


@pytest.mark.parametrize("command", ["run", "reduce"])
@pytest.mark.parametrize("case", ["text", "foreign HDF5"])
def test_results_file_that_is_not_ours_under_mpirun(folder, case, command):
    path = folder / "out" / "r.h5"
    NOT_OURS[case](path)
    arguments = (
        ["reduce", path] if command == "reduce" else ["run", config_of(folder), "--out", path]
    )
    check_refused(folder, arguments, INPUT, ["r.h5"], ranks=2)


@pytest.mark.parametrize("command", ["reduce", "export", "status", "verify", "inspect"])
def test_missing_results_file(folder, command):
    check_refused(folder, [command, folder / "out" / "gone.h5"], INPUT, ["gone.h5"])


# --- the surroundings --------------------------------------------------------------------------


@pytest.mark.parametrize("home", [None, "", "/nonexistent", "/proc"])
def test_home_does_not_matter(folder, home):
    unset = {"HOME": home, "XDG_CACHE_HOME": None, "TMPDIR": None}
    must("run", config_of(folder), "--out", folder / "out" / "r.h5", environment=unset)


def test_home_does_not_matter_under_mpirun(folder):
    unset = {"HOME": None, "XDG_CACHE_HOME": None}
    config = config_of(folder)
    must("run", config, "--out", folder / "out" / "r.h5", ranks=2, environment=unset)


@pytest.mark.parametrize("limit", [32 << 10, 1 << 20])
def test_disk_that_is_full(folder, limit):
    """A limit on the size of files stands in for a full disk: the same call fails."""
    config = config_of(
        folder, prompts=[GENERATED | {"count": 40, "period": 30}], experiments=[HEADS]
    )
    before = snapshot(folder)
    done = subprocess.run(
        ["prlimit", f"--fsize={limit}", program(), "run", config, "--out", folder / "out" / "r.h5"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == RESOURCE, (done.returncode, done.stderr)
    assert done.stderr.count("mechsweep:") == 1
    assert snapshot(folder) == before


BAD_ARGUMENTS = [
    [],
    ["frobnicate"],
    ["run"],
    ["export"],
    ["status", "a.h5", "b.h5"],
    ["run", "a.yaml", "--ot", "x.h5"],
    ["plan", "a.yaml", "--ranks", "0"],
    ["plan", "a.yaml", "--ranks", "many"],
    ["list", "everything"],
    ["--log-level", "loud", "list", "sites"],
]


@pytest.mark.parametrize("arguments", BAD_ARGUMENTS, ids=" ".join)
def test_arguments(folder, arguments):
    check_refused(folder, arguments, USAGE, [])
