"""From measured groups to the numbers and lines of the report."""

from common import machine_lines, spread
from flops import changeable, whole_forwards
from tasks import TASKS, layers_text

OURS = "mechsweep"
ONE_THREAD = "mechsweep, 1 rank of 1 thread"


def peak(rates, dtype, threads):
    """The largest of the measured GFLOP/s, and what reached it."""
    found = [
        (rate, f"{kernel}, {way}")
        for way, kernels in rates[dtype].items()
        for kernel, rate in kernels.items()
        if (way == "1 thread") == (threads == 1)
    ]
    return max(found)


def seconds(times):
    return times.get("scaled_s") or times["wall_s"]


def by_whole_forwards(name):
    return not name.startswith(OURS) or "naive" in name


def summaries(groups, tasks, setting, rates):
    """By task: interventions, and by side the seconds, ratios, FLOPs and FLOP/s."""
    result = {}
    for name in tasks:
        task, own = TASKS[name], [group for group in groups if group["task"] == name]
        sides = {side: summary(task, side, own, setting, rates) for side in own[0]["sides"]}
        result[name] = {
            "title": task.title,
            "interventions": task.count(setting),
            "whole_forwards_tflop": whole_forwards(task, setting) / 1e12,
            "changeable_tflop": changeable(task, setting) / 1e12,
            "rounds": len(own),
            "sides": sides,
        }
    return result


def summary(task, side, groups, setting, rates):
    groups = [group for group in groups if side in group["sides"]]
    runs = [group["sides"][side] for group in groups]
    totals = [seconds(times) for times in runs]
    ours = [seconds(group["sides"][OURS]) for group in groups]
    measured = len(groups[0]["places"])
    sampled = "each_s" in runs[0] or "scaled_s" in runs[0]
    tflop, counted_by = whole_forwards(task, setting) / 1e12, "formula"
    if "skipping" in side:
        tflop = None  # depends on the layers that happen to be sampled
    if not by_whole_forwards(side):
        tflop = changeable(task, setting) / 1e12
        if runs[0]["tflop"] is not None:
            tflop, counted_by = runs[0]["tflop"], "program"
    # Start, loading and writing are no arithmetic, but only loading is known apart.
    working = [total - times.get("load_s", 0.0) for total, times in zip(totals, runs, strict=True)]
    reached = [tflop * 1e3 / value for value in working] if tflop else None
    dtype = "bfloat16" if "bfloat16" in side else "float32"
    limit, _ = peak(rates, dtype, 1 if side == ONE_THREAD else setting.threads)
    each = [value for times in runs for value in times.get("each_s", [])]
    return {
        "seconds": spread(totals),
        "times_mechsweep": spread([a / b for a, b in zip(totals, ours, strict=True)]),
        "sampled_a_round": measured if sampled and task.kind != "scores" else None,
        "seconds_each": spread(each) if each else None,
        "tflop": tflop,
        "tflop_counted_by": counted_by,
        "gflops": spread(reached) if reached else None,
        "share_of_peak": max(reached) / limit if reached else None,
    }


def number(value, digits=3):
    """To so many significant digits, no exponent, thousands apart."""
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    return f"{float(text):,.0f}" if abs(value) >= 10 ** (digits - 1) else text


def of_spread(values):
    low, middle, high = (number(values[key]) for key in ("min", "median", "max"))
    return middle if values["min"] == values["max"] else f"**{middle}** ({low} to {high})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def names_of(tasks):
    names = []
    for task in tasks.values():
        names += [name for name in task["sides"] if name not in names]
    return sorted(names, key=lambda name: (not name.startswith(OURS), names.index(name)))


def grid(record, cell):
    """One row a side, one column a task."""
    tasks = record["tasks"]
    rows = []
    for name in names_of(tasks):
        cells = [
            cell(task["sides"][name]) if name in task["sides"] else missing(record, key, name)
            for key, task in tasks.items()
        ]
        if any(cells):
            rows.append([name, *cells])
    return table(["side", *(heading(task) for task in tasks.values())], rows)


def missing(record, task, name):
    return "–" if name in record["unsupported"].get(task, {}) else ""


def heading(task):
    count = f" ({task['interventions']:,})" if task["interventions"] else ""
    return f"{task['title']}{count}"


def time_cell(side):
    sampled = f"; {side['sampled_a_round']} a round" if side["sampled_a_round"] else ""
    return of_spread(side["seconds"]) + sampled


def ratio_cell(side):
    return of_spread(side["times_mechsweep"])


def flops_cell(side):
    if side["tflop"] is None:
        return ""
    return (
        f"{number(side['tflop'])} TFLOP, {number(side['gflops']['median'])} GFLOP/s, "
        f"{100 * side['share_of_peak']:.0f}%"
    )


def each_cell(side):
    return of_spread(side["seconds_each"]) if side["seconds_each"] else ""


def head_lines(record):
    setting, versions = record["setting"], record["versions"]
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    rounds = ", ".join(f"{task['rounds']} of {key}" for key, task in record["tasks"].items())
    return [
        "# mechsweep beside its peers",
        "",
        "Made by `benchmarks/peers/run.sh` in one run; benchmarks/README.md says how to read it.",
        "Only the ratios carry over to other machines, and those roughly.",
        "",
        *machine_lines(record["machine"]),
        f"- Versions: {shown}",
        f"- Model: {setting['model']}, float32; layers {layers_text(setting['layers'])}",
        f"- Prompts: {setting['prompts']} ab_noise_a of {setting['length']} tokens; corrupt "
        f"partners have the first two letters swapped. Scores: {setting['sequences']} random "
        f"sequences of {2 * setting['period']} tokens",
        f"- {setting['threads']} threads on every side; `{OURS}` is {setting['threads']} ranks of "
        f"one thread, executor {setting['executor']}. Rounds: {rounds}",
        "",
    ]


def lines(record):
    result = head_lines(record)
    result += ["## Seconds of the whole task", ""]
    result += ["Median (least to most) of the rounds. mechsweep: the whole program, with start,"]
    result += ["loading and writing. Peers: the loop only; `n a round` means that n interventions"]
    result += ["were measured in each round and scaled to all by count.", ""]
    result += grid(record, time_cell)
    result += [
        f"- {name} has no time of {task}: {why}"
        for task, sides in record["unsupported"].items()
        for name, why in sides.items()
    ]
    result += [""] if record["unsupported"] else []
    result += ["## Times mechsweep's seconds", ""]
    result += grid(record, ratio_cell)
    result += ["## Seconds per intervention, as measured", ""]
    result += grid(record, each_cell)
    result += ["## Arithmetic", ""]
    result += ["Work done; work over time without loading; and the best round's share of the"]
    result += ["largest rate of a matrix product below with as many threads.", ""]
    result += grid(record, flops_cell)
    result += by_formula(record)
    result += peak_lines(record)
    result += agreement_lines(record)
    result += scaling_lines(record)
    return result


def by_formula(record):
    found = []
    for key, task in record["tasks"].items():
        how = task["sides"][OURS]["tflop_counted_by"]
        found.append(
            f"- {key}: {number(task['whole_forwards_tflop'])} TFLOP by whole forward passes, "
            f"{number(task['changeable_tflop'])} of what an edit can change (both by formula); "
            f"mechsweep's work above is counted by the {how}"
        )
    return [*found, ""]


def peak_lines(record):
    result = ["## Matrix products, GFLOP/s", ""]
    for dtype, ways in record["gemm_gflops"].items():
        kernels = list(next(iter(ways.values())))
        rows = [[kernel, *(number(ways[way][kernel]) for way in ways)] for kernel in kernels]
        result += table([f"{dtype}: rows x inner x columns", *ways], rows)
    return result


def agreement_lines(record):
    result = ["## Agreement with transformers in float32", ""]
    rows, notes = [], []
    for task, sides in record["agreement"].items():
        for side, found in sides.items():
            effect = number(found["largest_effect"]) if found["largest_effect"] else ""
            rows.append([task, side, f"{found['compared']:,}", f"{found['largest']:.2g}", effect])
            for case in found["rounding"]:
                notes.append(
                    f"- Beyond 1e-4, {case['at']}: {side} {case[side]:.9g}, transformers "
                    f"{case['transformers']:.9g}, double precision {case['double']:.9g}"
                )
    head = ["task", "side", "numbers", "largest difference", "largest effect"]
    return [*result, *table(head, rows), *notes, *([""] if notes else [])]


def scaling_lines(record):
    if not record["scaling"]:
        return []
    result = ["## How mechsweep's time grows", ""]
    result += ["Heads zeroed at the target position; one thing varies, the rest is as above.", ""]
    rows = [
        [
            one["panel"],
            str(one["x"]),
            number(one["wall_s"]),
            number(one["wall_s"] - one["load_s"]),
            number(one["tflop"]) if one["tflop"] is not None else "",
        ]
        for one in record["scaling"]
    ]
    return [*result, *table(["varies", "to", "seconds", "without loading", "TFLOP"], rows)]
