"""Chosen sets of heads beside random ones, and all heads but the chosen ones.

Drawn sets, losses and p-values are compared with sweeps in which the sets are named in the config,
and with what NumPy makes of the stored numbers.
"""

import csv
import itertools
import json
import random
import time

import h5py
import numpy as np
import pytest
from stage_sweeps import heads, prompts, swept, top
from system_program import (
    INTERRUPTED,
    USAGE,
    Running,
    digest,
    model_entry,
    must,
    run,
    write_config,
)

MODEL = "llama-random"
MATCHES = ["uniform", "layer"]


def controls(random_k=30, match="layer", **other):
    return {"random_k": random_k, "match": match} | other


def names_of(layers, numbers):
    return [f"L{x}H{y}" for x, y in zip(layers, numbers, strict=True) if x >= 0]


def drawn_sets(group):
    """Names of the drawn heads by [place, match, draw]."""
    layers, numbers = group["controls/layer"][()], group["controls/head"][()]
    return [
        [
            [names_of(*draw) for draw in zip(*of_match, strict=True)]
            for of_match in zip(*place, strict=True)
        ]
        for place in zip(layers, numbers, strict=True)
    ]


def layers_of(names):
    return sorted(name[1 : name.index("H")] for name in names)


def reduced(results):
    must("reduce", results)
    return results.with_name(results.stem + ".summary.h5")


def means_by_numpy(group):
    """Mean change of loss and of right answers: of chosen sets, and of every random set."""
    found = {}
    tried = group["selection/evaluated_on"][()] == 1 if "selection" in group else slice(None)
    answers = group["base/tracked_token"][()][tried][..., 0]
    base = group["base/loss"][()][tried], group["base/top1"][()][tried] == answers
    wide = (slice(None),) + (None,) * (group["loss"].ndim - 1)
    drawn = (slice(None),) + (None,) * (group["controls/loss"].ndim - 1)
    correct = group["controls/correct"][()][tried].astype(float)
    assert set(np.unique(correct)) <= {0.0, 1.0}
    found["delta_loss"] = (
        (group["loss"][()][tried] - base[0][wide]).mean(axis=0),
        (group["controls/loss"][()][tried] - base[0][drawn]).mean(axis=0),
    )
    found["delta_correct"] = (
        ((group["top1"][()][tried] == answers[wide]) * 1.0 - base[1][wide]).mean(axis=0),
        (correct - base[1][drawn]).mean(axis=0),
    )
    return found


def p_by_numpy(observed, draws, sign):
    """(1 + b) / (1 + N), ties within rounding being extreme."""
    slack = 1e-11 * np.maximum(np.abs(draws), np.abs(observed))
    return (1 + (sign * draws >= sign * observed - slack).sum(axis=0)) / (1 + len(draws))


def random_sets(group):
    """As the comparison has them: [draw, place, match, ...] and the chosen ones [place, 1, ...]."""
    for metric, (chosen, drawn) in means_by_numpy(group).items():
        yield metric, np.broadcast_to(np.expand_dims(chosen, 1), drawn.shape[1:]), drawn


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A sweep with controls of both kinds, reduced."""
    folder = tmp_path_factory.mktemp("controls")
    for name in ("in", "out"):
        (folder / name).mkdir()
    experiments = [
        heads(),
        top(operation=["zero", "mean"], mean_over="all", controls=controls(60, MATCHES)),
        heads(
            "named",
            heads={"sets": {"a": ["L0H1", "L1H2", "L1H3"], "b": ["L2H0"]}},
            controls=controls(40, MATCHES, alternative="two_sided"),
        ),
        heads(
            "rest",
            heads={"sets": {"a": ["L0H1", "L1H2"], "b": ["L2H0"]}, "all_but": True},
            controls=controls(25, "layer", chosen="excluded"),
        ),
    ]
    results = swept(folder, experiments)
    return folder, results, reduced(results)


def test_drawn_sets_are_what_is_asked(sweep):
    _, results, _ = sweep
    with h5py.File(results) as file:
        group = file[f"runs/top/{MODEL}/p"]
        chosen = names_of(group["selection/layer"], group["selection/head"])
        sets = drawn_sets(group)
        axes = [group["controls/loss"].dims[i][0].name.split("/")[-1] for i in range(5)]
        assert axes == ["prompt", "random_set", "k", "match", "operation"]
        assert group["controls/layer"].dims[3][0].name.endswith("/member")
        rest = drawn_sets(file[f"runs/rest/{MODEL}/p"])
    every = {f"L{layer}H{head}" for layer in range(3) for head in range(4)}
    for place, k in enumerate([1, 2, 4]):
        assert len(sets[place][0]) == len(sets[place][1]) == 60
        for draw in sets[place][0] + sets[place][1]:
            assert len(draw) == len(set(draw)) == k
            assert set(draw) <= every
        # From each layer as many as were chosen there, and not always from these layers.
        assert {tuple(layers_of(draw)) for draw in sets[place][1]} == {tuple(layers_of(chosen[:k]))}
        assert len({tuple(layers_of(draw)) for draw in sets[place][0]}) > 1
        assert len({tuple(draw) for draw in sets[place][0]}) > 5
    # Chosen heads are drawn by default and left out where that is asked for.
    assert any(chosen[0] in draw for draw in sets[0][0])
    for place, left_alone in enumerate([{"L0H1", "L1H2"}, {"L2H0"}]):
        for draw in rest[place][0]:
            assert not left_alone & set(draw)
            assert layers_of(draw) == layers_of(left_alone)


def test_losses_of_drawn_sets_are_those_of_sets_in_a_config(sweep, folder):
    _, results, _ = sweep
    with h5py.File(results) as file:
        of_top, of_rest = file[f"runs/top/{MODEL}/p"], file[f"runs/rest/{MODEL}/p"]
        drawn = drawn_sets(of_top)
        sets = {
            f"{place}_{match}_{draw}": drawn[place][match][draw]
            for place, match, draw in itertools.product(range(3), range(2), (0, 7, 59))
        }
        named = heads("top", operation=["zero", "mean"], mean_over="all", heads={"sets": sets})
        kept = drawn_sets(of_rest)
        left_alone = {
            f"{place}_{draw}": kept[place][0][draw] for place in (0, 1) for draw in (0, 24)
        }
        every = [f"L{layer}H{head}" for layer in range(3) for head in range(4)]
        rest = {
            name: [head for head in every if head not in members]
            for name, members in left_alone.items()
        }
        others = heads("rest", heads={"sets": rest})
        other = swept(folder, [named, others])
        tried = of_top["selection/evaluated_on"][()] == 1
        with h5py.File(other) as by_hand:
            losses = by_hand[f"runs/top/{MODEL}/p/loss"][()]
            top1 = by_hand[f"runs/top/{MODEL}/p/top1"][()]
            answers = by_hand[f"runs/top/{MODEL}/p/base/tracked_token"][:, 0]
            for at, name in enumerate(sets):
                place, match, draw = map(int, name.split("_"))
                stored = of_top["controls/loss"][:, draw, place, match]
                assert stored[tried].tobytes() == losses[tried, at].tobytes()
                assert np.isnan(stored[~tried]).all()
                correct = of_top["controls/correct"][:, draw, place, match]
                assert (correct[tried] == (top1[tried, at] == answers[tried, None])).all()
                assert (correct[~tried] == 255).all()
            losses = by_hand[f"runs/rest/{MODEL}/p/loss"][()]
            for at, name in enumerate(rest):
                place, draw = map(int, name.split("_"))
                stored = of_rest["controls/loss"][:, draw, place, 0]
                assert stored.tobytes() == losses[:, at].tobytes()


def test_p_values_are_those_of_numpy(sweep):
    _, results, summary = sweep
    signs = {"greater": 1, "less": -1}
    compared = 0
    with h5py.File(results) as file, h5py.File(summary) as made:
        for run_id in ("top", "named", "rest"):
            path = f"runs/{run_id}/{MODEL}/p"
            for metric, chosen, drawn in random_sets(file[path]):
                stored = made[f"{path}/control_{metric}"]
                assert np.allclose(stored["observed"], chosen, rtol=1e-12, atol=1e-14)
                assert np.allclose(stored["mean"], drawn.mean(axis=0), rtol=1e-12, atol=1e-14)
                assert np.allclose(stored["sd"], drawn.std(axis=0, ddof=1), rtol=1e-9, atol=1e-14)
                for name, share in [("025", 0.025), ("050", 0.05), ("950", 0.95), ("975", 0.975)]:
                    expected = np.quantile(drawn, share, axis=0)
                    assert np.allclose(stored[f"quantile_{name}"], expected, rtol=1e-9, atol=1e-14)
                assert np.allclose(
                    stored["median"], np.median(drawn, axis=0), rtol=1e-9, atol=1e-14
                )
                assert (stored["draws"][()] == len(drawn)).all()
                assert (stored["prompts"][()] == (12 if run_id == "top" else 24)).all()
                alternative = stored.attrs["alternative"].decode()
                if run_id == "rest":
                    assert alternative == {"delta_loss": "less", "delta_correct": "greater"}[metric]
                    assert np.isnan(stored["p_value"]).all()  # chosen heads are not drawn
                    continue
                if alternative == "two_sided":
                    sides = [p_by_numpy(chosen, drawn, sign) for sign in (1, -1)]
                    expected = np.minimum(1, 2 * np.minimum(*sides))
                else:
                    expected = p_by_numpy(chosen, drawn, signs[alternative])
                assert np.allclose(stored["p_value"], expected, rtol=1e-12)
                compared += expected.size
    assert compared == 2 * (3 * 2 * 2 + 2 * 2)


def test_tables_say_what_the_summary_says(sweep):
    _, _, summary = sweep
    with summary.with_name("r.summary.controls.csv").open() as text:
        rows = list(csv.DictReader(text))
    document = json.loads(summary.with_suffix(".json").read_text())
    runs = {one["run"]: one for one in document["runs"]}
    assert len(rows) == 2 * (3 * 2 * 2 + 2 * 2 + 2)
    with h5py.File(summary) as made:
        stored = made[f"runs/top/{MODEL}/p/control_delta_loss"]
        listed = runs[f"top/{MODEL}/p"]["controls"]["delta_loss"]
        own = [r for r in rows if r["run"] == f"top/{MODEL}/p" and r["metric"] == "delta_loss"]
        cells = list(itertools.product((1, 2, 4), MATCHES, ("zero", "mean")))
        assert len(own) == len(listed) == len(cells)
        for row, entry, (k, match, operation), place in zip(
            own, listed, cells, np.ndindex(3, 2, 2), strict=True
        ):
            assert (entry["k"], entry["match"], entry["operation"]) == (k, match, operation)
            assert (row["k"], row["match"], row["operation"]) == (str(k), match, operation)
            assert entry["p_value"] == stored["p_value"][place]
            assert float(row["p_value"]) == pytest.approx(entry["p_value"], rel=1e-8)
            assert float(row["observed"]) == pytest.approx(stored["observed"][place], rel=1e-8)
            assert row["n_draws"] == "60"
    assert runs[f"rest/{MODEL}/p"]["controls"]["delta_loss"][0]["p_value"] is None
    assert "controls" not in runs[f"heads/{MODEL}/p"]


def test_any_schedule_gives_the_same_draws_and_numbers(sweep, folder):
    where, results, summary = sweep
    config, expected = where / "in" / "r.yaml", digest(results)
    for ranks in (2, 3):
        other = folder / "out" / f"ranks{ranks}.h5"
        must("run", config, "--out", other, ranks=ranks)
        assert digest(other) == expected
    parts = [folder / "out" / f"part{part}.h5" for part in (1, 2)]
    for part, file in enumerate(parts, 1):
        run("run", config, "--out", file, "--part", f"{part}/2")
    merged = folder / "out" / "merged.h5"
    must("merge", merged, *parts, status=INTERRUPTED)
    must("run", config, "--out", merged)
    assert digest(merged) == expected
    again = reduced(merged)
    table = again.with_name("merged.summary.controls.csv").read_text()
    assert table == summary.with_name("r.summary.controls.csv").read_text()


def stored_draws(results):
    """Bytes of the drawn heads, where their stage is journalled."""
    with h5py.File(results, "r", locking=False) as file:
        states = file["journal"][:, 0]
        stages, runs = file["units/stage"][()], file["units/run"][()]
        found = {}
        for unit in np.flatnonzero((states == 1) & (stages == 2)):
            group = file[f"runs/t{runs[unit] - 1}/{MODEL}/p/controls"]
            found[runs[unit]] = group["layer"][()].tobytes() + group["head"][()].tobytes()
        return found


@pytest.mark.parametrize("ranks", [None, 2])
def test_draws_never_change_whatever_is_killed(folder, ranks):
    experiments = [heads()]
    experiments += [
        top(
            f"t{i}",
            k=[1, 3],
            by=f"mean({'-' * (i % 2)}delta_loss)",
            controls=controls(300, MATCHES),
        )
        for i in range(3)
    ]
    one_thread = {"execution": {"threads_per_rank": 1}}
    start = time.monotonic()
    expected = digest(swept(folder, experiments, name="whole", **one_thread))
    seconds = time.monotonic() - start
    config, results = folder / "in" / "whole.yaml", folder / "out" / "killed.h5"
    moments, known = random.Random(3), {}
    for _ in range(4):
        with Running("run", config, "--out", results, ranks=ranks) as running:
            time.sleep(moments.uniform(0.2, 0.9) * seconds)
            if running.process.poll() is None:
                running.process.kill()
            running.wait()
        if not results.exists():
            continue
        now = stored_draws(results)
        assert {run_id: now[run_id] for run_id in known} == known
        known = now
    until = time.monotonic() + 30  # ranks of a killed mpirun end by themselves
    while run("run", config, "--out", results).status != 0 and time.monotonic() < until:
        time.sleep(0.5)
    assert len(stored_draws(results)) == 3
    assert digest(results) == expected


@pytest.mark.parametrize("all_but", [False, True])
def test_the_trained_models_heads_beat_random_ones_and_others_do_not(folder, all_but):
    """Against the share of all 56 triples that do as well, each tried by name.

    Removing either of two of the eight heads destroys copying, so many sets do as well as the
    chosen one. What suffices is rarer: nearly no other three heads do.
    """
    every = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
    triples = {"_".join(three): list(three) for three in itertools.combinations(every, 3)}
    chosen = {"true": ["L0H0", "L0H1", "L1H2"], "others": ["L0H2", "L0H3", "L1H3"]}
    draws = 400
    experiments = [
        heads("triples", heads={"sets": triples, "all_but": all_but}),
        heads(
            "chosen",
            heads={"sets": chosen, "all_but": all_but},
            controls=controls(draws, MATCHES),
        ),
    ]
    results = swept(folder, experiments, model="tiny-induction")
    with h5py.File(results) as file, h5py.File(reduced(results)) as made:
        loss = file["runs/triples/tiny-induction/p/loss"][()].mean(axis=0)
        sign = -1 if all_but else 1
        by_name = dict(zip(triples, sign * loss, strict=True))
        stored = made["runs/chosen/tiny-induction/p/control_delta_loss/p_value"][()]
    of_layers = [three for three in triples.values() if layers_of(three) == ["0", "0", "1"]]
    for at, three in enumerate(chosen.values()):
        least = by_name["_".join(three)] - 1e-9
        for match, pool in enumerate([triples.values(), of_layers]):
            share = np.mean([by_name["_".join(one)] >= least for one in pool])
            error = np.sqrt(share * (1 - share) / draws)
            assert abs(stored[at, match] - share) < 4 * error + 2 / draws
    assert (stored[0] < stored[1]).all()
    assert (stored[1] > 0.4).all()
    assert not all_but or (stored[0] < 0.1).all()


def test_all_but_the_top_heads(folder):
    everything = top(heads=None)
    everything["heads"] = {"top": top()["heads"]["top"], "all_but": True}
    results = swept(folder, [heads(), top("plain"), everything])
    with h5py.File(results) as file:
        group = file[f"runs/top/{MODEL}/p"]
        chosen = names_of(group["selection/layer"], group["selection/head"])
        losses = group["loss"][()]
        estimand = group.attrs["estimand"].decode()
    assert estimand.startswith("z of every head but the k heads with the largest mean(delta_loss)")
    every = [f"L{layer}H{head}" for layer in range(3) for head in range(4)]
    rest = {f"k{k}": [head for head in every if head not in chosen[:k]] for k in (1, 2, 4)}
    other = swept(folder, [heads("rest", heads={"sets": rest})], name="rest")
    with h5py.File(other) as file:
        by_name = file[f"runs/rest/{MODEL}/p/loss"][()]
    tried = np.isfinite(losses[:, 0])
    assert tried.sum() == 12
    assert losses[tried].tobytes() == by_name[tried].tobytes()


def test_what_cannot_be_compared_is_refused_before_anything_runs(folder):
    sets = {"sets": {"a": ["L0H0", "L0H1", "L0H2"]}}
    every = {"sets": {"a": [f"L{layer}H{head}" for layer in range(3) for head in range(4)]}}
    for experiment, message in [
        (heads(controls=controls()), "controls: goes with `heads: {top: ...}` and `heads: {sets:"),
        (heads(heads=sets, positions="each", controls=controls()), "not with `positions: each`"),
        (heads(heads=sets, controls={"random_k": 3}), "the key 'match' is missing"),
        (heads(heads=sets, controls=controls(0)), "controls.random_k: "),
        (heads(heads=sets, controls=controls(match="layers")), "did you mean 'layer'?"),
        (heads(heads=sets, controls=controls(match=["layer", "layer"])), "names 'layer' twice"),
        (
            heads(heads=sets, operation="resample", draws=2, controls=controls()),
            "goes with a single draw",
        ),
        (
            heads(heads=sets, controls=controls(chosen="excluded")),
            "3 were chosen in layer 0, but only 1 others are there to draw",
        ),
        (heads(heads=every | {"all_but": True}), "so that none is left to edit"),
        (heads(heads={"top": top()["heads"]["top"], "all_but": 3}, evaluate="all"), "all_but: "),
    ]:
        config = write_config(
            folder / "in" / "c.yaml", [model_entry(MODEL)], [prompts()], [experiment]
        )
        outcome = run("run", config, "--out", folder / "out" / "r.h5")
        assert outcome.status == USAGE, (experiment, outcome.err)
        assert message in outcome.err
        assert not (folder / "out" / "r.h5").exists()
