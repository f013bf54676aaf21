"""mechsweep beside transformers, TransformerLens, nnsight and pyvene; run it by run.sh."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import figure
import report
import scaling
from agreement import Agreement, at_places
from common import (
    RESULTS,
    ROOT,
    SMOLLM2,
    BenchmarkError,
    busy,
    check_files,
    layer_range,
    machine,
    positive,
    publish,
    run,
)
from sides import Mechsweep, Peer
from tasks import TASKS, Setting, request, sample, write_prompts

LIBRARIES = ("transformers", "transformer_lens", "nnsight", "nnsight_skipping", "pyvene")
REFERENCE = "transformers"
PATCHES_PER_HEAD = 4 / 3  # of the samples


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="benchmarks/peers/run.sh", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--peer-python", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="two tasks, one round, no scaling")
    parser.add_argument("--program", type=Path, default=ROOT / "build/mechsweep")
    parser.add_argument("--model", type=Path, default=SMOLLM2, help="a .gguf file of a Llama")
    parser.add_argument("--executor", default="wavefront", help="of the main side")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, metavar="TASK", help=" ".join(TASKS))
    parser.add_argument("--peers", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--rounds", type=positive, help="default 3")
    parser.add_argument(
        "--minutes",
        type=float,
        default=20,
        help="no further round of a long task begins that would end later; default 20",
    )
    parser.add_argument(
        "--sample", type=positive, help="heads a round and peer; default 3, and 4 patches"
    )
    parser.add_argument("--layers", type=layer_range, metavar="A..B", help="default: all")
    parser.add_argument("--prompts", type=positive, default=64)
    parser.add_argument("--sequences", type=positive, default=100, help="of the scores")
    parser.add_argument("--threads", type=positive, default=2, help="of every side")
    parser.add_argument("--memory-gib", type=float, default=4, help="mechsweep's activations")
    parser.add_argument("--bf16", action="store_true", help="mechsweep in bfloat16 too")
    parser.add_argument("--no-naive", action="store_true", help="leave out the naive executor")
    parser.add_argument("--no-scaling", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.tasks = arguments.tasks or (["heads_at_target", "scores"] if quick else list(TASKS))
    arguments.rounds = arguments.rounds or (1 if quick else 3)
    arguments.sample = arguments.sample or (2 if quick else 3)
    arguments.no_scaling |= quick
    if REFERENCE not in arguments.peers:
        parser.error("transformers is what all others are checked against; name it too")
    return arguments


class Comparison:
    """Measures group by group: one task in one round, all sides in turn."""

    def __init__(self, arguments, setting, ours, peers):
        self.arguments, self.setting, self.ours, self.peers = arguments, setting, ours, peers
        self.agreement = Agreement(self.double)
        self.groups = []
        self.unsupported = {}
        self.started = time.perf_counter()

    def double(self, task, place, prompt):
        message = request(task, self.setting, [])
        message.update(task="double", kind=task.kind, prompt=prompt, place=place)
        del message["places"]
        return self.peers[REFERENCE].ask(**message)["delta_loss"]

    def own_sides(self, task, places, turn):
        """The measurements of mechsweep: name -> function."""
        arguments, threads = self.arguments, self.setting.threads

        def whole(ranks, of_each, dtype="float32"):
            return lambda: self.ours.whole(task, ranks, of_each, arguments.executor, dtype)

        sides = {"mechsweep": whole(threads, 1)}
        if task.short:
            sides["mechsweep, 1 rank of all threads"] = whole(1, threads)
            sides["mechsweep, 1 rank of 1 thread"] = whole(1, 1)
        if arguments.bf16:
            sides["mechsweep, bfloat16"] = whole(threads, 1, "bfloat16")
        if arguments.no_naive or turn:
            return sides
        if task.kind == "scores":
            sides["mechsweep, naive"] = lambda: self.ours.whole(task, threads, 1, "naive")
        else:
            sides["mechsweep, naive"] = lambda: self.ours.sampled(task, places, threads, "naive")
        return sides

    def peer_side(self, task, places, peer):
        """A peer's measurement, scaled up to the whole task by count; None: not offered."""
        answer = peer.ask(**request(task, self.setting, places))
        if "unsupported" in answer:
            self.unsupported.setdefault(task.id, {})[peer.name] = answer["unsupported"]
            return None, None
        times = {"fixed_s": answer.pop("fixed_s"), "each_s": answer.pop("each_s")}
        times["scaled_s"] = times["fixed_s"]
        if times["each_s"]:
            mean = sum(times["each_s"]) / len(times["each_s"])
            times["scaled_s"] += mean * task.count(self.setting)
        return times, answer

    def group(self, task, turn):
        """One task in one round. Every round begins with another side."""
        size = self.arguments.sample
        if task.kind == "patches":
            size = round(size * PATCHES_PER_HEAD)
        places = sample(task, self.setting, size, turn, self.arguments.rounds)
        sides = self.own_sides(task, places, turn)
        for peer in self.peers.values():
            sides[peer.name] = lambda peer=peer: self.peer_side(task, places, peer)
        order = list(sides)
        first = turn * 2 % len(order)
        times, values = {}, {}
        for name in order[first:] + order[:first]:
            times[name], values[name] = sides[name]()
            if times[name] is None:
                del times[name], values[name]
                continue
            seconds = times[name].get("scaled_s") or times[name]["wall_s"]
            print(f"round {turn + 1}, {task.id}, {name}: {seconds:.1f} s", file=sys.stderr)
        self.compare(task, places, values)
        self.groups.append({"task": task.id, "round": turn + 1, "places": places, "sides": times})

    def compare(self, task, places, values):
        reference = values[REFERENCE]
        for name, found in values.items():
            if name == REFERENCE:
                continue
            if task.kind == "scores":
                self.agreement.scores(task, name, found["scores"], reference["scores"])
                continue
            if "all" in found:
                found = at_places(found, places, list(self.setting.layers))
            self.agreement.effects(task, name, places, found, reference)

    def measure(self):
        """Every task once. Further rounds: always of short tasks, of others while time lasts."""
        tasks = [TASKS[name] for name in self.arguments.tasks]
        last = {}
        for short in (True, False):
            for turn in range(self.arguments.rounds):
                for task in (task for task in tasks if task.short == short):
                    start = time.perf_counter()
                    end = start - self.started + last.get(task.id, 0)
                    if turn and not short and end > self.arguments.minutes * 60:
                        print(f"no time for round {turn + 1} of {task.id}", file=sys.stderr)
                        continue
                    self.group(task, turn)
                    last[task.id] = time.perf_counter() - start


def peak_rates(peers, threads, dtypes):
    """GFLOP/s of matrix products: `threads` processes of one thread each, side by side, one process
    of all threads, and one thread alone."""
    found = {}
    for dtype in dtypes:
        message = {"task": "gemm", "seconds": 0.6, "dtype": dtype}
        first = next(iter(peers.values()))
        alone = first.ask(threads=1, **message)
        together = first.ask(threads=threads, **message)
        found[dtype] = {"1 thread": alone, f"1 process of {threads} threads": together}
        if len(peers) >= threads:
            several = list(peers.values())[:threads]
            for peer in several:
                peer.send(threads=1, **message)
            rates = [peer.answer() for peer in several]
            total = {name: sum(rate[name] for rate in rates) for name in alone}
            found[dtype][f"{threads} processes of 1 thread"] = total
    return found


def start_peers(arguments, setting):
    """The workers, loaded. The first one dequantises the model for all."""
    peers, model = {}, setting.model
    libraries = sorted(arguments.peers, key=lambda library: library != REFERENCE)
    try:
        for library in libraries:
            log = setting.folder / f"{library}.log"
            python, threads = arguments.peer_python, setting.threads
            peers[library] = Peer(python, library, model, threads, log)
            if library == REFERENCE:
                model = setting.folder / "model"
                peers[library].wait_until_ready()
                peers[library].ask(task="save", folder=str(model))
        for library in libraries[1:]:
            peers[library].wait_until_ready()
    except BaseException:
        stop(peers)
        raise
    return peers


def stop(peers):
    for peer in peers.values():
        peer.close()


def measure(arguments, folder):
    described = machine()
    if busy(described):
        print("warning: this machine is busy; the times will mean nothing", file=sys.stderr)
    setting = Setting(
        model=arguments.model,
        folder=folder,
        layers=arguments.layers,
        prompts=arguments.prompts,
        length=35,
        sequences=arguments.sequences,
        period=32,
        memory_gib=arguments.memory_gib,
        threads=arguments.threads,
    )
    ours = Mechsweep(arguments.program, setting)
    write_prompts(setting, ours.prompts)
    print("loading the peers", file=sys.stderr)
    peers = start_peers(arguments, setting)
    try:
        setting.shape = peers[REFERENCE].about["shape"]
        setting.layers = setting.layers or range(setting.shape["layers"])
        peaks = peak_rates(peers, setting.threads, ["float32"] + ["bfloat16"] * arguments.bf16)
        for peer in peers.values():
            peer.ask(task="warm_up", prompts=str(setting.prompt_file("copy")))
        comparison = Comparison(arguments, setting, ours, peers)
        comparison.measure()
    finally:
        stop(peers)
    grown = []
    if not arguments.no_scaling:
        grown = scaling.measure(ours, setting, arguments.executor)
    return record_of(arguments, described, setting, comparison, peaks, grown)


def record_of(arguments, described, setting, comparison, peaks, grown):
    versions = {"mechsweep": comparison.ours.version, "mpi": comparison.ours.mpi}
    versions["commit"] = commit()
    for peer in comparison.peers.values():
        versions.update(peer.about["versions"])
    return {
        "made_by": "benchmarks/peers/run.sh",
        "machine": described,
        "versions": versions,
        "setting": {
            "model": arguments.model.name,
            "executor": arguments.executor,
            "layers": list(setting.layers),
            "prompts": setting.prompts,
            "length": setting.length,
            "sequences": setting.sequences,
            "period": setting.period,
            "threads": setting.threads,
            "memory_gib": setting.memory_gib,
            "shape": setting.shape,
        },
        "peers": [peer.name for peer in comparison.peers.values()],
        "groups": comparison.groups,
        "unsupported": comparison.unsupported,
        "agreement": comparison.agreement.found,
        "gemm_gflops": peaks,
        "scaling": grown,
        "tasks": report.summaries(comparison.groups, arguments.tasks, setting, peaks),
    }


def commit():
    """The commit of the checkout, marked when files differ from it."""
    try:
        return run(["git", "-C", ROOT, "describe", "--always", "--dirty"]).stdout.strip()
    except (BenchmarkError, OSError):
        return "unknown"


def main():
    arguments = parse_arguments()
    check_files(arguments.program, arguments.model)
    with tempfile.TemporaryDirectory(prefix="mechsweep-peers-") as folder:
        record = measure(arguments, Path(folder))
    publish(arguments.out, "peers", report.lines(record), record)
    figure.draw(record, arguments.out)


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(f"peers: {error}")
