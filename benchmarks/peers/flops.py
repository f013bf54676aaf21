"""Floating-point operations by formula: of whole forward passes, and of what an edit can change.

Products only, a multiplication and an addition counted as two; attention causally; the unembedding
for the last position only.
"""


class Flops:
    def __init__(self, shape, length):
        self.length, self.layers = length, shape["layers"]
        width, inner = shape["width"], shape["heads"] * shape["head_size"]
        self.key_values = 4 * width * shape["kv_heads"] * shape["head_size"]
        self.query = 2 * width * inner
        self.after_z = 2 * inner * width + 6 * width * shape["mlp"]
        self.per_key = 4 * inner
        self.unembedding = 2 * width * shape["vocabulary"]

    def _attention(self, rows):
        """Of the last `rows` queries."""
        first = self.length - rows
        return self.per_key * sum(range(first + 1, self.length + 1))

    def _layer(self, rows):
        row = self.key_values + self.query + self.after_z
        return rows * row + self._attention(rows)

    def _last_layer(self, rows):
        """Where only the last row is read."""
        return rows * self.key_values + self.query + self.after_z + self._attention(1)

    def _layers_from(self, first, rows):
        if first >= self.layers:
            return 0
        return (self.layers - 1 - first) * self._layer(rows) + self._last_layer(rows)

    def forward(self, unembedded=True):
        """A whole forward pass of a prompt."""
        return self.layers * self._layer(self.length) + unembedded * self.unembedding

    def head(self, layer, rows):
        """What an edit of z in the last `rows` positions can change."""
        own = self.after_z * (1 if layer == self.layers - 1 else rows)
        return own + self._layers_from(layer + 1, rows) + self.unembedding

    def patch(self, layer, position):
        """What an edit of resid_pre at a position can change."""
        return self._layers_from(layer, self.length - position) + self.unembedding


def whole_forwards(task, setting):
    """Of a task done by whole forward passes, which is what the peers do."""
    if task.kind == "scores":
        return setting.sequences * Flops(setting.shape, 2 * setting.period).forward(False)
    passes = task.count(setting) + task.base_runs
    return setting.prompts * passes * Flops(setting.shape, setting.length).forward()


def changeable(task, setting):
    """Of a task when only what an edit can change is computed."""
    if task.kind == "scores":
        return whole_forwards(task, setting)
    one = Flops(setting.shape, setting.length)
    total = task.base_runs * one.forward()
    for layer in setting.layers:
        if task.kind == "heads":
            rows = 1 if task.position == -1 else setting.length
            total += setting.shape["heads"] * one.head(layer, rows)
        else:
            total += sum(one.patch(layer, position) for position in range(setting.length))
    return setting.prompts * total
