"""What the tests of bad input share: a good sweep to spoil, and what a refusal has to look like."""

from system_program import CHECKPOINTS, run, write_config

SCORES = {"id": "s", "kind": "attention_scores", "scores": ["induction"]}
HEADS = {"id": "h", "kind": "head_ablation", "operation": "zero", "positions": "all"}
PATCH = {
    "id": "x",
    "kind": "activation_patching",
    "site": "resid_pre",
    "direction": "clean_to_corrupt",
    "positions": "all",
}
GENERATED = {
    "id": "p",
    "kind": "repeated_random",
    "count": 2,
    "period": 4,
    "repeats": 2,
    "prefix": 0,
}
LLAMA = {"id": "m", "path": str(CHECKPOINTS / "llama-random")}


def check_refused(folder, arguments, status, words, ranks=None, **options):
    """One clear sentence with these words, this status, and the folder as it was."""
    before = snapshot(folder)
    outcome = run(*arguments, ranks=ranks, **options)
    assert outcome.status == status, (outcome.status, outcome.err)
    assert len(outcome.complaints) == 1, outcome.err
    sentence = outcome.complaints[0]
    for word in words:
        assert word in sentence, (word, sentence)
    if ranks is None:  # mpirun adds lines of its own
        assert outcome.err.strip() == sentence
    for sign in ("terminate called", "Backtrace", "HDF5-DIAG", "what():", "internal error"):
        assert sign not in outcome.err, outcome.err
    assert outcome.out == ""
    assert snapshot(folder) == before


def snapshot(folder):
    """Every file below a folder with its size and time of change."""
    return {
        path: (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def config_of(folder, models=None, prompts=None, experiments=None, **other):
    return write_config(
        folder / "in" / "sweep.yaml",
        models or [LLAMA],
        prompts or [GENERATED],
        experiments or [SCORES],
        **other,
    )
