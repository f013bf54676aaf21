"""The sides that are measured: mechsweep as a program, and processes that hold a peer."""

import json
import re
import subprocess
from pathlib import Path

import h5py
import numpy as np
from common import BenchmarkError, loading_seconds, run
from tasks import SCORES, config, sampled, whole

COMPUTED = re.compile(r"([0-9.]+) TFLOP computed")


class Mechsweep:
    """Runs the program; a fresh process and a fresh file each time."""

    def __init__(self, program, setting):
        self.program, self.setting = program, setting
        self.version = run([program, "--version"]).stdout.strip()
        self.mpi = run(["mpirun", "--version"]).stdout.splitlines()[0]
        self.file = setting.folder / "results.h5"

    def _write(self, content):
        path = self.setting.folder / "benchmark.yaml"
        path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
        return path

    def prompts(self, entry):
        """The prompts that an entry of `prompts` stands for."""
        experiment = {"kind": "attention_scores", "scores": ["previous_token"]}
        path = self._write(config(self.setting, {"set": entry}, {"one": experiment}, 1, "naive"))
        lines = run([self.program, "prompts", path]).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def run(self, content, ranks):
        """Seconds of the whole program, of loading and of computing, and TFLOP as it counted."""
        path = self._write(content)
        for left_over in self.file.parent.glob(self.file.stem + ".*"):
            left_over.unlink()
        command = [self.program, "--log-level", "debug", "run", path, "--out", self.file]
        if ranks > 1:
            command = ["mpirun", "-n", ranks, "--oversubscribe", *command]
        finished = run(command)
        loads = loading_seconds(finished)
        status = json.loads(run([self.program, "status", "--json", self.file]).stdout)
        if status["failed"] or status["left"]:
            raise BenchmarkError(f"{status['failed']} units failed, {status['left']} are left")
        # A rank loads its model within its first unit.
        computed = (status["compute_seconds"] - sum(loads)) / ranks
        counted = [float(number) for number in COMPUTED.findall(finished.stderr + finished.stdout)]
        return {
            "wall_s": finished.wall_s,
            "load_s": max(loads, default=0.0),
            "compute_s": computed,
            "tflop": sum(counted) if counted else None,
        }

    def whole(self, task, ranks, threads, executor, dtype="float32"):
        times = self.run(whole(task, self.setting, threads, executor, dtype), ranks)
        return times, self.found(task)

    def sampled(self, task, places, ranks, executor):
        """The task scaled up from some interventions, and their losses [place, prompt]."""
        times = self.run(sampled(task, self.setting, places, 1, executor), ranks)
        # Every experiment has its own base runs.
        done = len(places) * (1 + task.base_runs)
        wanted = task.count(self.setting) + task.base_runs
        times["scaled_s"] = times["wall_s"] + times["compute_s"] * (wanted / done - 1)
        with h5py.File(self.file) as file:
            groups = [self._group(file, task, f"task{index}") for index in range(len(places))]
            base = groups[0]["base/loss"][()]
            losses = [group["loss"][()].reshape(len(base)) for group in groups]
            donor = groups[0]["donor/loss"][()] if task.kind == "patches" else None
        return times, {"base": base, "donor": donor, "losses": np.array(losses)}

    def _group(self, file, task, experiment):
        return file[f"runs/{experiment}/model/{task.prompts}"]

    def found(self, task):
        """What the last run found: scores [score, prompt, layer, head], or base, donor and edited
        losses, [prompt, layer, head or position]."""
        with h5py.File(self.file) as file:
            group = self._group(file, task, "task")
            if task.kind == "scores":
                return {"scores": np.array([group[name][()] for name in SCORES])}
            donor = group["donor/loss"][()] if task.kind == "patches" else None
            return {"base": group["base/loss"][()], "donor": donor, "all": group["loss"][()]}


class Peer:
    """A worker process in the peers' environment; idle unless it was asked something."""

    def __init__(self, python, library, model, threads, log):
        worker = Path(__file__).with_name("worker.py")
        command = [python, worker, library, model, threads]
        self.log = log
        self.errors = log.open("w")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.library = library
        self.about = None

    def wait_until_ready(self):
        self.about = self.answer()
        self.name = self.about["name"]

    def send(self, **message):
        print(json.dumps(message), file=self.process.stdin, flush=True)

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
            raise BenchmarkError(f"the worker of {self.library} ended: {' / '.join(tail)}")
        return json.loads(line)

    def ask(self, **message):
        self.send(**message)
        return self.answer()

    def close(self):
        """Ends the process; it is ours, whatever state it is in."""
        self.process.kill()
        self.process.wait()
        self.errors.close()
