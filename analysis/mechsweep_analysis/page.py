"""index.html: one file that needs nothing else, for a browser, a phone or a screen reader."""

import json
from collections.abc import Sequence

from mechsweep_analysis import __version__
from mechsweep_analysis.html_parts import (
    document,
    escape,
    make_figure,
    make_product,
    make_table,
)
from mechsweep_analysis.provenance import Provenance
from mechsweep_analysis.render import MetricResult, RunResult, Table
from mechsweep_analysis.studies.product import Product
from mechsweep_analysis.style import (
    base_line,
    count,
    interval_words,
    percent,
    sample_line,
    show,
    strongest_first,
)
from mechsweep_analysis.summary import Metric, Run, Summary

MOST_CELLS = 60
RUN_FACTS = (
    ("kind", "experiment"),
    ("site", "site"),
    ("operation", "operation"),
    ("positions", "positions"),
    ("direction", "direction"),
    ("downstream", "downstream"),
    ("prefix", "prefix"),
    ("dtype", "dtype"),
    ("seed", "seed"),
    ("n_prompts_left_out", "prompts left out"),
    ("chance_is_among", "chance is among"),
    ("model_hash", "model's hash"),
    ("prompts_hash", "prompts' hash"),
    ("transformer_lens_hook", "TransformerLens hook"),
    ("transformers_path", "transformers module"),
)
FILE_FACTS = (
    ("source", "results file"),
    ("source_key", "key of the results"),
    ("key", "key of the summary"),
    ("software_version", "mechsweep"),
    ("seed", "seed"),
    ("kernels", "kernels"),
    ("format_version", "format version"),
)

HOW_TO_READ = """<section><h2>How to read this</h2>
<ul>
<li>A mean is over prompts; prompts of one template form a cluster, and intervals are bootstrapped
over clusters. They hold for one head at a time, not for the largest of many.</li>
<li>delta is the edited run minus the base run of the same prompt: 0 is no effect. Effects are
coloured about 0, red above and blue below; attention scores and recoveries from 0 to 1.</li>
<li>A recovery of 1 means that the edit takes the base run all the way to its donor.</li>
<li>A head with a large attention score attends in that pattern; only an edit shows that the model
uses it. Where the model fails the task, effects say nothing about how the task is done.</li>
<li>The first heads of a ranking owe part of their place to chance: test a chosen set on other
prompts.</li>
</ul></section>"""


def page(
    summary: Summary,
    results: list[RunResult],
    provenance: Provenance,
    products: Sequence[Product] = (),
) -> str:
    """The whole page. Every text that comes from a file is escaped."""
    title = f"mechsweep report: {summary.attributes.get('name') or summary.path.name}"
    runs = "\n".join(_run(number, result) for number, result in enumerate(results))
    return document(
        title,
        _warnings(results, provenance),
        _overview(results),
        _products(products),
        HOW_TO_READ,
        runs,
        _config(summary),
        _provenance(summary, provenance),
    )


def _anchor(number: int) -> str:
    return f"run-{number + 1}"


def _facts(pairs: list[tuple[str, object]]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{items}</dl>" if items else ""


def _warnings(results: list[RunResult], provenance: Provenance) -> str:
    items = [
        f'<li><a href="#{_anchor(number)}">{escape(result.run.run_id)}</a>: {escape(warning)}</li>'
        for number, result in enumerate(results)
        for warning in result.run.warnings
    ]
    if "another sweep" in provenance.note:
        items.append(f"<li>{escape(provenance.note)}</li>")
    if (exactness := provenance.bit_exactness()).startswith("NO"):
        items.append(f"<li>Results bit-exact: {escape(exactness)}.</li>")
    items += [
        f"<li>Certificate of model {escape(model)}: {escape(said)}.</li>"
        for model, said in provenance.certificates().items()
        if said.startswith("FAILED")
    ]
    if not items:
        return "<p>No warnings.</p>"
    return f'<section class="warning"><h2>Warnings</h2><ul>{"".join(items)}</ul></section>'


def _overview(results: list[RunResult]) -> str:
    rows = []
    for number, result in enumerate(results):
        numbers = result.run.numbers
        rows.append(
            f'<tr><td><a href="#{_anchor(number)}">{escape(result.run.run_id)}</a></td>'
            + "".join(
                f"<td>{escape(cell)}</td>"
                for cell in (
                    show(numbers["n_prompts"], 0),
                    show(numbers["base_loss"]),
                    show(numbers["chance_loss"]),
                    percent(numbers["base_accuracy"]),
                    percent(numbers["chance_accuracy"]),
                )
            )
            + "</tr>"
        )
    names = ("run", "prompts", "base loss (nats)", "chance", "base accuracy", "chance")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        '<section><h2>Can the models do the task?</h2><div class="wide runs" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
        "</section>"
    )


def _products(products: Sequence[Product]) -> str:
    if not products:
        return ""
    inside = "\n".join(make_product(product) for product in products)
    return f"<section><h2>Across runs</h2>\n{inside}\n</section>"


def _run(number: int, result: RunResult) -> str:
    run = result.run
    interval = interval_words(run, result.interval)
    parts = [f'<section id="{_anchor(number)}">', f"<h2>{escape(run.run_id)}</h2>"]
    if run.attributes.get("estimand"):
        parts.append(f"<p>Estimand: {escape(run.attributes['estimand'])}.</p>")
    parts.append(f"<p>{escape(base_line(run))}</p>")
    if run.warnings:
        items = "".join(f"<li>{escape(warning)}</li>" for warning in run.warnings)
        parts.append(f'<ul class="warning">{items}</ul>')
    parts.append(_run_facts(run))
    scalars = [one for one in result.metrics if one.metric.is_scalar]
    if scalars:
        parts.append(_scalars(scalars, interval, result.interval))
    grids = [one for one in result.metrics if not one.metric.is_scalar]
    parts += [_metric(run, one, interval, result.interval) for one in grids if one.is_headline]
    others = [_metric(run, one, interval, result.interval) for one in grids if not one.is_headline]
    if others:
        inside = "\n".join(others)
        parts.append(f"<details><summary>Further metrics</summary>\n{inside}\n</details>")
    parts.append("</section>")
    return "\n".join(parts)


def _run_facts(run: Run) -> str:
    facts = [(said, run.attributes[name]) for name, said in RUN_FACTS if run.attributes.get(name)]
    facts += [(f"definition of {name}", text) for name, text in run.definitions.items()]
    return f"<details><summary>Definitions</summary>{_facts(facts)}</details>"


def _scalars(scalars: list[MetricResult], interval: str, kind: str) -> str:
    rows = []
    for one in scalars:
        metric = one.metric
        rows.append([metric.long_name, metric.units, *_cell(metric, (0,), kind)])
    header = ["metric", "units", "mean", "from", "to", "prompts", "clusters"]
    return make_table(header, rows, f"Means over prompts with {interval}")


def _cell(metric: Metric, index: tuple[int, ...], interval: str) -> list[str]:
    low, high = metric.interval(interval)
    numbers = [show(float(array[index])) for array in (metric.mean, low, high)]
    counts = [str(int(metric.arrays[name][index])) for name in ("prompts", "clusters")]
    return numbers + counts


def _metric(run: Run, result: MetricResult, interval: str, kind: str) -> str:
    metric = result.metric
    units = "" if metric.units in ("", "1") else f" ({metric.units})"
    parts = [f"<h3>{escape(metric.long_name + units)} <code>{escape(metric.name)}</code></h3>"]
    parts.append(f"<p>{escape(_headline(run, result))}</p>")
    parts += [make_figure(figure) for figure in result.figures]
    if result.left_out:
        parts.append(
            f"<p>{result.left_out} further slices are not drawn; those with the largest absolute "
            "means are. All are in the summary file.</p>"
        )
    parts += [_top_table(run, metric, table, interval) for table in result.tables]
    if len(metric.axes) == 1 and metric.mean.size <= MOST_CELLS:
        axis = metric.axes[0]
        rows = [[value, *_cell(metric, (place,), kind)] for place, value in enumerate(axis.values)]
        header = [axis.name, "mean", "from", "to", "prompts", "clusters"]
        table = make_table(header, rows, f"{metric.name}, with {interval}")
        parts.append(f"<details><summary>Numbers</summary>{table}</details>")
    return "\n".join(parts)


def _headline(run: Run, result: MetricResult) -> str:
    numbers = result.numbers
    if not numbers["cells"]:
        return "No values."
    said = (
        f"Means over {sample_line(run, result.metric)}. Of {numbers['cells']} cells "
        f"{numbers['positive']} are positive; they go from {show(numbers['smallest'])} to "
        f"{show(numbers['largest'])}, median {show(numbers['median'])}."
    )
    if numbers["cells"] > 10:
        said += (
            f" The strongest ten have mean {show(numbers['top_ten_mean'])} and median "
            f"{show(numbers['top_ten_median'])}."
        )
    return said


def _top_table(run: Run, metric: Metric, table: Table, interval: str) -> str:
    rows = [
        [
            row.place,
            row.name,
            show(row.mean, 4),
            show(row.interval_low, 4),
            show(row.interval_high, 4),
            show(row.standard_error, 4),
            row.prompts,
            row.clusters,
        ]
        for row in table.rows
    ]
    order = "largest" if strongest_first(run, metric) > 0 else "smallest"
    where = f", {table.where}" if table.where else ""
    caption = (
        f"{metric.name}{where}: the {count(len(rows), 'head')} with the {order} means, {interval}"
    )
    header = ["", "head", "mean", "from", "to", "standard error", "prompts", "clusters"]
    return make_table(header, rows, caption)


def _config(summary: Summary) -> str:
    config = summary.attributes.get("config", "")
    # A line feed right after <pre> would be dropped by a browser.
    return f"<section><h2>Config</h2>\n<pre>\n{escape(config)}</pre></section>"


def _provenance(summary: Summary, provenance: Provenance) -> str:
    facts = [
        (said, summary.attributes[name]) for name, said in FILE_FACTS if name in summary.attributes
    ]
    facts.append(("mechsweep_analysis", __version__))
    parts = ["<section><h2>Provenance</h2>", _facts(facts)]
    for name, attributes in summary.models.items():
        parts.append(f"<h3>Model {escape(name)}</h3>{_facts(list(attributes.items()))}")
    parts.append("<h3>Launches</h3>")
    if exactness := provenance.bit_exactness():
        parts.append(f"<p>Results bit-exact: {escape(exactness)}.</p>")
    for model, said in provenance.certificates().items():
        parts.append(f"<p>Certificate of model {escape(model)}: {escape(said)}.</p>")
    for number, attempt in enumerate(provenance.attempts, start=1):
        pairs = [(name, _fact(value)) for name, value in attempt.items()]
        parts.append(f"<details><summary>Launch {number}</summary>{_facts(pairs)}</details>")
    if not provenance.attempts:
        parts.append(f"<p>{escape(provenance.note or 'None are recorded.')}</p>")
    parts.append("</section>")
    return "\n".join(parts)


def _fact(value) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
