"""The four tasks, as configs of mechsweep and as requests to the peers."""

import json
from dataclasses import dataclass
from pathlib import Path

SCORES = ("previous_token", "duplicate_token", "induction")
GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class Task:
    id: str
    title: str
    kind: str  # heads, patches or scores
    prompts: str  # which file
    experiment: dict
    position: int | None = None  # of heads: -1 the last one, None all

    def count(self, setting):
        """Interventions a prompt."""
        axis = {"heads": setting.shape["heads"], "patches": setting.length, "scores": 0}
        return len(setting.layers) * axis[self.kind]

    @property
    def short(self):
        """Whether mechsweep is done with it in seconds; then it is measured in more ways."""
        return self.kind == "scores" or self.position == -1

    @property
    def base_runs(self):
        return {"heads": 1, "patches": 2, "scores": 1}[self.kind]


def _ablation(positions):
    return {"kind": "head_ablation", "operation": "zero", "positions": positions}


TASKS = {
    task.id: task
    for task in (
        Task("heads_at_target", "head zeroed at the target position", "heads", "copy",
             _ablation("targets"), -1),
        Task("scores", "previous-token, duplicate-token and induction scores", "scores", "repeat",
             {"kind": "attention_scores", "scores": list(SCORES)}),
        Task("heads_at_all", "head zeroed at all positions", "heads", "copy", _ablation("all")),
        Task("patches", "resid_pre of the clean run pasted into the corrupt run", "patches", "copy",
             {"kind": "activation_patching", "site": "resid_pre", "direction": "clean_to_corrupt",
              "positions": "each"}),
    )
}  # fmt: skip


@dataclass
class Setting:
    """What all sides share."""

    model: Path
    folder: Path  # of configs, prompts and results; goes away
    layers: range
    prompts: int
    length: int
    sequences: int
    period: int
    memory_gib: float
    threads: int
    shape: dict | None = None  # of the model, as a peer found it

    def prompt_file(self, name):
        return self.folder / f"{name}.jsonl"


def sample(task, setting, size, turn, turns):
    """`size` places, (layer, head) or (layer, position), spread evenly over the layers; other ones
    in each of the `turns` rounds."""
    layers = setting.layers
    size = min(size, len(layers))
    width = setting.shape["heads"] if task.kind == "heads" else setting.length
    places = []
    for index in range(size):
        # To and fro, so that the places of a round are in the middle on average.
        within = (turn + 0.5) / turns
        fraction = (index + (1 - within if index % 2 else within)) / size
        spread = ((turn * size + index + 0.5) * GOLDEN_RATIO) % 1
        places.append((layers[int(fraction * len(layers))], int(spread * width)))
    return places


def generated(kind, **more):
    """An entry of `prompts` whose prompts mechsweep makes."""
    if kind == "ab_noise_a":
        length = more.pop("length")
        # The prefix, A and B, the noise, A.
        shape = {"noise": length - 4, "noise_pool": "letters", "letter_form": " A", "prefix": 0}
    else:
        shape = {"repeats": 2, "prefix": "none"}
    return {"kind": kind, **shape, **more}


def config(setting, prompts, experiments, threads, executor, dtype="float32"):
    """A whole config; `prompts` and `experiments` by id."""
    return {
        "name": "peers-benchmark",
        "seed": 42,
        "models": [{"id": "model", "path": str(setting.model.resolve()), "dtype": dtype}],
        "prompts": [{"id": name, **entry} for name, entry in prompts.items()],
        "experiments": [{"id": name, **entry} for name, entry in experiments.items()],
        "execution": {
            "executor": executor,
            "memory_gib": setting.memory_gib,
            "threads_per_rank": threads,
        },
    }


def layers_text(layers):
    return f"{layers[0]}..{layers[-1]}"


def whole(task, setting, threads, executor, dtype="float32"):
    """The config of the whole task."""
    layers = {} if task.kind == "scores" else {"layers": layers_text(setting.layers)}
    prompts = {task.prompts: {"kind": "file", "path": str(setting.prompt_file(task.prompts))}}
    experiments = {"task": {**task.experiment, **layers}}
    return config(setting, prompts, experiments, threads, executor, dtype)


def sampled(task, setting, places, threads, executor):
    """The config of some of the interventions: one experiment each, in order."""
    experiments = {}
    for index, (layer, where) in enumerate(places):
        if task.kind == "heads":
            one = {"heads": [f"L{layer}H{where}"]}
        else:
            one = {"layers": f"{layer}..{layer}", "positions": [where]}
        experiments[f"task{index}"] = {**task.experiment, **one}
    prompts = {task.prompts: {"kind": "file", "path": str(setting.prompt_file(task.prompts))}}
    return config(setting, prompts, experiments, threads, executor)


def request(task, setting, places):
    """What a peer is told."""
    message = {"task": task.kind, "prompts": str(setting.prompt_file(task.prompts))}
    if task.kind == "scores":
        return {**message, "period": setting.period}
    if task.kind == "heads":
        message["position"] = task.position
    return {**message, "places": places}


def write_prompts(setting, ask):
    """The two prompt files. `ask` gives the prompts that mechsweep makes from a `prompts` entry.

    The corrupt partner of a copy prompt has the first pair swapped, B A for A B: the answer to what
    follows A is then no longer B.
    """
    lines = []
    entry = generated("ab_noise_a", count=setting.prompts, length=setting.length)
    for prompt in ask(entry):
        tokens = prompt["tokens"]
        swapped = [tokens[0], tokens[2], tokens[1], *tokens[3:]]
        answer = prompt["targets"][-1]["answer"]
        lines.append({"tokens": tokens, "corrupt_tokens": swapped, "answer": answer})
    _write(setting.prompt_file("copy"), lines)
    entry = generated("repeated_random", count=setting.sequences, period=setting.period)
    _write(setting.prompt_file("repeat"), [{"tokens": prompt["tokens"]} for prompt in ask(entry)])


def _write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
