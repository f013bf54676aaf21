"""Methods and results of the topology of heads as text, with every number that it rests on."""

import json

import numpy as np

from mechsweep_analysis import __version__
from mechsweep_analysis.hdf5_text import parse_json
from mechsweep_analysis.provenance import Provenance, read_provenance
from mechsweep_analysis.render import file_name
from mechsweep_analysis.samples import prompt_facts
from mechsweep_analysis.studies import causal
from mechsweep_analysis.studies.lag_split import lag_profiles, peaks
from mechsweep_analysis.studies.product import Product, Source
from mechsweep_analysis.studies.profile_data import Profile, by_score, profiles_of
from mechsweep_analysis.studies.topology import sentence, with_interval
from mechsweep_analysis.style import base_line, count, interval_words, show
from mechsweep_analysis.summary import Run

QUANTITIES = {
    "peak_layer": "peak, layer l",
    "peak_depth": "peak, l/L",
    "peak_centre_depth": "peak, (l+½)/L",
    "peak_value": "score at the peak",
    "peak_excess": "peak above the null's median",
    "inside_null": "peak inside the null",
    "outside_null_share": "share of resamples with the peak outside",
    "peak_p_value": "p of the peak, null draws",
    "permutation_p_value": "p of the peak, permuted heads",
    "centroid_depth": "centroid, c/L",
    "centroid_centre_depth": "centroid, (c+½)/L",
    "bandwidth": "bandwidth / L",
    "clipped": "bandwidth clipped",
    "clipped_share": "share of resamples clipped",
}


def make(source: Source) -> list[Product]:
    profiles = profiles_of(source)
    ablations = [run for run in source.runs("head_ablation") if causal.operations_of(run)]
    if not profiles and not ablations:
        return []
    text = write(source, profiles, ablations)
    name = file_name(str(source.summary.attributes.get("name") or "topology"), "methods")
    return [
        Product(
            name=name,
            title="Methods and results as text",
            said="Written from the numbers of this report; check it before you publish it.",
            numbers={},
            documents={f"{name}.md": text},
        )
    ]


def write(source: Source, profiles: list[Profile], ablations: list[Run]) -> str:
    """The Markdown text."""
    provenance = read_provenance(source.results or source.summary.path, source.summary)
    runs = list({profile.run.run_id: profile.run for profile in profiles}.values())
    parts = ["# Methods", ""]
    parts += _models(source, [*runs, *ablations])
    parts += _prompts(source, [*runs, *ablations])
    parts += _scores(profiles)
    parts += _causal_methods(ablations)
    parts += _computing(source, provenance)
    parts += ["# Results", ""]
    for group in by_score(profiles).values():
        parts += _results(group)
    for run in ablations:
        parts += _causal_results(run)
    return "\n".join(parts).rstrip() + "\n"


def _models(source: Source, runs: list[Run]) -> list[str]:
    lines = []
    for name in dict.fromkeys(run.model for run in runs):
        facts = source.summary.models.get(name, {})
        said = [
            f"{facts.get('architecture', 'architecture not stored')}",
            f"L = {facts.get('n_layers', '?')} layers of {facts.get('n_heads', '?')} heads",
            f"dtype {facts.get('dtype', 'not stored')}",
        ]
        if facts.get("hash"):
            said.append(f"hash {facts['hash'][:12]}")
        lines.append(f"- {name}: {', '.join(said)}")
    return ["**Models.**", "", *lines, ""]


def _prompts(source: Source, runs: list[Run]) -> list[str]:
    lines = []
    for run in {(run.model, run.prompts): run for run in runs}.values():
        facts = prompt_facts(source.results, run)
        kind = f"{facts['kind']} {json.dumps(facts['parameters'], sort_keys=True)}" if facts else (
            "generator not known without the results file"
        )  # fmt: skip
        said = [
            kind,
            count(run.numbers["n_prompts"], "prompt") + " counted",
            f"in {count(run.numbers['n_clusters'], 'cluster')}",
            f"prefix {run.attributes.get('prefix') or 'not stored'}",
        ]
        if run.attributes.get("correct_in"):
            kept, of = (run.attributes.get(f"correct_in_{key}", "?") for key in ("kept", "prompts"))
            models = run.attributes.get("correct_in_models", "the chosen models")
            said.append(f"{kept} of {of} that {models} answer right")
        if run.attributes.get("prompts_hash"):
            said.append(f"hash {run.attributes['prompts_hash'][:12]}")
        lines.append(f"- {run.prompts} ({run.model}): {', '.join(said)}")
    return ["**Prompts.** Copies are found by equal token ids.", "", *lines, ""]


def _scores(profiles: list[Profile]) -> list[str]:
    if not profiles:
        return []
    run = profiles[0].run
    level = run.numbers["level"]
    names = list(dict.fromkeys(profile.score for profile in profiles))
    said = [f"{name}: {run.definitions[name]}." for name in names if name in run.definitions]
    for key, what in (
        ("matched", "Matched score"),
        ("null", "Null"),
        ("excess", "Excess"),
        ("top_heads", "Top heads"),
        ("shape", "Shape"),
    ):
        if run.definitions.get(key):
            said.append(f"{what}: {run.definitions[key].rstrip('.')}.")
    said.append(
        f"Null draws: {run.attributes.get('null_draws', 'not stored')}; head permutations: "
        f"{run.attributes.get('permutations', 'not stored')}. Bands hold the central "
        f"{100 * level:g} %."
    )
    kind = profiles[0].interval_kind
    said.append(f"Intervals: {interval_words(run, kind)} over clusters of prompts.")
    return ["**Scores.** " + " ".join(said), ""]


def _causal_methods(ablations: list[Run]) -> list[str]:
    lines = []
    for run in ablations:
        said = [f"{run.run_id}: {run.attributes.get('estimand') or 'heads removed'}."]
        if run.attributes.get("definition_selection"):
            said.append(f"Selection: {run.attributes['definition_selection'].rstrip('.')}.")
        if run.attributes.get("definition_controls"):
            said.append(f"Random sets: {run.attributes['definition_controls'].rstrip('.')}.")
        lines.append(f"- {' '.join(said)}")
    return ["**Causal check.**", "", *lines, ""] if lines else []


def _computing(source: Source, provenance: Provenance) -> list[str]:
    facts = source.summary.attributes
    said = [
        f"Seed {facts.get('seed', 'not stored')}; mechsweep {facts.get('software_version', '?')}, "
        f"kernels {facts.get('kernels', '?')}, mechsweep_analysis {__version__}; key of the "
        f"results {facts.get('source_key', '?')[:12]}."
    ]
    machines = [_machine(attempt) for attempt in provenance.attempts]
    for words in dict.fromkeys(machines):
        said.append(f"Launches: {machines.count(words)} with {words}.")
    if not machines:
        said.append(f"Hardware: not known. {provenance.note}".rstrip())
    if exactness := provenance.bit_exactness():
        said.append(f"Results bit-exact: {exactness}.")
    return ["**Computing.** " + " ".join(said), ""]


def _machine(attempt: dict) -> str:
    """Where a launch ran; records have no checksum, so anything may be missing."""
    machine = attempt.get("machine")
    machine = machine if isinstance(machine, dict) else parse_json(str(machine)) or {}
    hosts = attempt.get("hosts")
    hosts = len(hosts) if isinstance(hosts, list) else 0
    said = [
        count(attempt.get("ranks", float("nan")), "rank"),
        f"{attempt.get('threads_per_rank', '?')} threads a rank",
        count(hosts or float("nan"), "host"),
    ]
    said += [f"{key} {machine[key]}" for key in sorted(machine) if key != "mechsweep"]
    return ", ".join(said)


def _results(profiles: list[Profile]) -> list[str]:
    first = profiles[0]
    run = first.run
    parts = [f"## {first.score}: {run.model} on {run.prompts}", "", first.base, ""]
    parts += [f"Warning: {warning}.\n" for warning in run.warnings]
    parts += [sentence(profile) for profile in profiles]
    parts += ["", "| quantity | " + " | ".join(one.heads for one in profiles) + " |"]
    parts += ["| --- |" + " --- |" * len(profiles)]
    for name, words in QUANTITIES.items():
        cells = [_cell(profile, name) for profile in profiles]
        if any(cell != "–" for cell in cells):
            parts.append(f"| {words} | " + " | ".join(cells) + " |")
    parts.append("")
    for axis, metric in lag_profiles(first).items():
        rows = peaks(first, metric)
        if rows:
            said = "; ".join(
                f"{row['lag']}: {show(row['peak_centre_depth'], 2)} ({show(row['peak_value'])})"
                for row in rows
            )
            parts += [f"Peak (l+½)/L and score by {axis.replace('_', ' ')}: {said}.", ""]
    return parts


def _cell(profile: Profile, name: str) -> str:
    if name not in profile.shape:
        return "–"
    value = profile.number(name)
    if name in ("bandwidth", "clipped", "clipped_share") and profile.is_set("inside_null"):
        return "none: inside the null"
    if name in ("inside_null", "clipped"):
        return {1.0: "yes", 0.0: "no"}.get(value, "–")
    if name == "peak_layer":
        one = profile.shape[name]
        shown = f"{value:.0f}" if np.isfinite(value) else "–"
        has_interval = np.isfinite(one.low) and np.isfinite(one.high)
        return f"{shown} [{one.low:.0f}, {one.high:.0f}]" if has_interval else shown
    return with_interval(profile, name)


def _causal_results(run: Run) -> list[str]:
    parts = [f"## Causal check: {run.model} on {run.prompts}", "", base_line(run), ""]
    parts += [f"Warning: {warning}.\n" for warning in run.warnings]
    for operation in causal.operations_of(run):
        rows = causal.comparisons(run, operation)
        place = next(key for key in causal.PLACES if key in rows[0])
        how = operation or run.attributes.get("operation", "")
        parts += [f"Operation {how}. {causal.sentence(run, rows, place)}", ""]
    return parts
