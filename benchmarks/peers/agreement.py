"""Do all sides find the same numbers? Without that a comparison of speed means nothing."""

import numpy as np
from common import BenchmarkError

TOLERANCE_NATS = 1e-4
TOLERANCE_SCORE = 1e-5
# float32 rounding may take a difference beyond the tolerance where an effect is large. Then double
# precision decides, and this is how far from it a side may be.
TOLERANCE_OF_ROUNDING = 3e-4


class Agreement:
    """Collects, by task and side, the largest difference from transformers in float32."""

    def __init__(self, double):
        """`double(task, place, prompt)`: delta_loss in double precision."""
        self.double = double
        self.found = {}

    def _entry(self, task, side):
        empty = {"compared": 0, "largest": 0.0, "largest_effect": 0.0, "rounding": []}
        return self.found.setdefault(task.id, {}).setdefault(side, empty)

    def scores(self, task, side, ours, reference):
        entry = self._entry(task, side)
        difference = np.abs(np.asarray(ours) - np.asarray(reference)).max()
        entry["compared"] += np.size(reference)
        entry["largest"] = max(entry["largest"], float(difference))
        if not difference <= TOLERANCE_SCORE and not coarse(side):
            raise BenchmarkError(
                f"no result, scores of {side} differ from those of transformers by {difference:.3g}"
            )

    def effects(self, task, side, places, ours, reference):
        """Base and donor losses [prompt], and delta_loss [place, prompt]."""
        for which in ("base", "donor"):
            if reference.get(which) is not None:
                self._plain_losses(task, side, which, ours[which], reference[which])
        entry = self._entry(task, side)
        found, wanted = deltas(ours), deltas(reference)
        if found.shape != wanted.shape:
            raise BenchmarkError(f"{side} has effects {found.shape}, transformers {wanted.shape}")
        difference = np.abs(found - wanted)
        # Written so that NaN is beyond.
        beyond = ~(difference <= TOLERANCE_NATS)
        for place, prompt in [] if coarse(side) else np.argwhere(beyond):
            self._decide(
                task, side, places[place], prompt, found[place, prompt], wanted[place, prompt]
            )
        entry["compared"] += found.size
        entry["largest"] = max(entry["largest"], float(difference.max()))
        entry["largest_effect"] = max(entry["largest_effect"], float(np.abs(wanted).max()))

    def _plain_losses(self, task, side, which, ours, reference):
        difference = np.abs(np.asarray(ours) - np.asarray(reference)).max()
        if not difference <= TOLERANCE_OF_ROUNDING and not coarse(side):
            raise BenchmarkError(
                f"no result, {which} losses of {side} differ from those of transformers by "
                f"{difference:.3g} nats in {task.id}"
            )

    def _decide(self, task, side, place, prompt, ours, theirs):
        double = self.double(task, place, int(prompt))
        where = f"{task.id}, {place}, prompt {prompt}"
        if not abs(ours - double) <= TOLERANCE_OF_ROUNDING:
            raise BenchmarkError(
                f"no result, {side} disagrees in {where}: delta_loss is {ours:.9g} nats there, "
                f"{theirs:.9g} in transformers and {double:.9g} in double precision"
            )
        case = {"at": where, side: float(ours), "transformers": float(theirs), "double": double}
        self._entry(task, side)["rounding"].append(case)


def coarse(side):
    """Whether a side rounds so much that its differences are only reported."""
    return "bfloat16" in side


def deltas(found):
    """delta_loss [place, prompt]."""
    return np.asarray(found["losses"]) - np.asarray(found["base"])[None, :]


def at_places(found, places, layers):
    """The same of a whole sweep's losses [prompt, layer, head or position]."""
    losses = [found["all"][:, layers.index(layer), where] for layer, where in places]
    return {**found, "losses": np.array(losses)}
