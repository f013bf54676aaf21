"""How mechsweep's time grows: layers, prompts, length and heads, of heads zeroed at the target."""

import sys

from tasks import config, generated, layers_text

EXPERIMENT = {"kind": "head_ablation", "operation": "zero", "positions": "targets"}


def spread_heads(shape, count):
    """`count` heads, evenly over the layers."""
    layers, heads = shape["layers"], shape["heads"]
    chosen = []
    for index in range(count):
        place = int((index + 0.5) * layers * heads / count)
        chosen.append(f"L{place // heads}H{place % heads}")
    return chosen


def points(setting):
    """(panel, x, prompts, length, what to ablate) of every run."""
    shape, prompts, length = setting.shape, setting.prompts, setting.length
    last = shape["layers"] - 1
    everything = {"layers": layers_text(range(last + 1))}
    for part in (1, 2, 3, 4, 5, 6):
        end = (last + 1) * part // 6 - 1
        yield "layers", end + 1, prompts, length, {"layers": f"0..{end}"}
    for count in (8, 16, 32, 64):
        yield "prompts", count, count, length, everything
    for tokens in (16, 32, 64, 96):
        yield "length", tokens, prompts, tokens, everything
    for count in (9, 27, 90, 270):
        yield "heads", count, prompts, length, {"heads": spread_heads(shape, count)}


def measure(ours, setting, executor):
    """Seconds and TFLOP of every run."""
    found = []
    for panel, x, prompts, length, what in points(setting):
        sets = {"copy": generated("ab_noise_a", count=prompts, length=length)}
        content = config(setting, sets, {"task": {**EXPERIMENT, **what}}, 1, executor)
        times = ours.run(content, setting.threads)
        found.append({"panel": panel, "x": x, **times})
        print(f"scaling, {panel} {x}: {times['wall_s']:.2f} s", file=sys.stderr)
    return found
