"""The command: files, page, numbers and error exits."""

import csv
import html.parser
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from conftest import LAYER_HEAD, WARNING
from mechsweep_analysis.command import main
from summary_writer import CONFIG, SummaryWriter, text, write_results

VOID = {"meta", "img", "br", "link"}


class Page(html.parser.HTMLParser):
    """Checks that elements nest, and collects what a test asks for."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(markup)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)


def report(path, out, *options):
    assert main([str(path), "--out", str(out), *options]) == 0
    return (out / "index.html").read_text(encoding="utf-8")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_figure_and_table_is_written_and_named(summary_path, tmp_path, capsys):
    out = tmp_path / "new" / "report"
    report(summary_path, out)
    stems = [
        "heads--tiny--abna--delta_loss--head_map",
        "heads--tiny--abna--delta_loss--top_heads",
        "heads--tiny--abna--delta_loss_layer_profile--profile",
        "heads--tiny--abna--delta_margin--head_map",
        "heads--tiny--abna--delta_margin--top_heads",
        "heads--tiny--abna--loss--head_map",
        "heads--tiny--abna--loss--top_heads",
        "resid--tiny--abna--recovery_loss--position_grid",
        "scores--tiny--repeat--induction--head_map",
        "scores--tiny--repeat--induction--top_heads",
        "sets--tiny--abna--delta_loss--operation=resample--bars",
        "sets--tiny--abna--delta_loss--operation=zero--bars",
    ]
    assert names(out / "figures") == sorted(f"{s}.{end}" for s in stems for end in ("png", "svg"))
    assert names(out / "tables") == [
        "heads--tiny--abna--delta_loss--top.csv",
        "heads--tiny--abna--delta_margin--top.csv",
        "heads--tiny--abna--loss--top.csv",
        "heads--tiny--abna--ranking.csv",
        "heads--tiny--abna--ranking.md",
        "scores--tiny--repeat--induction--top.csv",
    ]
    said = capsys.readouterr().out.splitlines()
    written = {line.removeprefix("wrote ") for line in said if line.startswith("wrote ")}
    assert written == {str(path) for path in out.rglob("*") if path.is_file()}


def test_page_is_whole_and_loads_nothing(summary_path, tmp_path):
    markup = report(summary_path, tmp_path / "out")
    page = Page(markup)
    assert markup.startswith("<!DOCTYPE html>\n")
    assert page.tags.count("img") == 12
    assert "script" not in page.tags and "link" not in page.tags
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href"):
            assert value.startswith("data:image/png;base64," if tag == "img" else "#run-")
    ids = {value for _, name, value in page.attributes if name == "id"}
    targets = {value[1:] for _, name, value in page.attributes if name == "href"}
    assert targets <= ids
    assert all(value for tag, name, value in page.attributes if name == "alt")
    assert "url(" not in markup and "@import" not in markup


def test_page_says_warnings_first_and_everything_a_reader_needs(summary_path, tmp_path):
    said = Page(report(summary_path, tmp_path / "out")).text
    assert said.index(WARNING) < said.index("How to read this") < said.index("Estimand")
    for words in (
        "z zeroed at all positions, downstream recomputed",
        "loss 3.800 nats (chance 3.258), accuracy 28.0 % (chance 3.8 %)",
        CONFIG,
        "ab" * 32,
        "cd" * 32,
        "10000",
        "blocks.{layer}.attn.hook_z",
        "The results file small.h5 is not beside its summary.",
        "Of 8 cells 5 are positive; they go from −0.750 to 1.500, median 0.0750.",
    ):
        assert words in said


def test_texts_are_escaped(tmp_path):
    path = tmp_path / "x.summary.h5"
    evil = "</pre><script>alert('&amp;\"')</script>\x07"
    with SummaryWriter(path, config=evil, name=evil, source=evil, software_version=evil) as writer:
        writer.model("<b>", 1, 2)
        run = writer.run(
            "<i>/<b>/a&b",
            {"layer": [0], "head": [0, 1], "set": ["<u>", '"'], "all": [0]},
            warnings=[evil],
            estimand=evil,
            **{"definition_<x>": evil},
        )
        writer.metric(run, "<m>", LAYER_HEAD, [[1.0, 2.0]], long_name=evil, units="<nats>")
        writer.metric(run, "delta_loss", ["set"], [1.0, 2.0])
    page = Page(report(path, tmp_path / "out"))
    assert not {"script", "i", "b", "u", "x", "m", "nats"} & set(page.tags)
    shown = evil.replace("\x07", "\N{REPLACEMENT CHARACTER}")
    assert page.text.count(shown) >= 5
    assert all(Path(name).name == name for name in names(tmp_path / "out" / "figures"))


def test_tables_have_the_strongest_heads(summary_path, tmp_path):
    report(summary_path, tmp_path / "out", "--top", "2", "--interval", "percentile")
    table = tmp_path / "out" / "tables" / "heads--tiny--abna--delta_margin--top.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["place"], row["layer"], row["head"]) for row in rows] == [
        ("1", "1", "2"),
        ("2", "1", "0"),
    ]
    assert (rows[0]["mean"], rows[0]["interval_low"], rows[0]["interval_high"]) == (
        "-3",
        "-3.2",
        "-2.8",
    )
    assert (rows[0]["prompts"], rows[0]["clusters"], rows[0]["rank"]) == ("64", "64", "8")


def test_intervals_are_those_that_the_config_asks_for(tmp_path):
    path = tmp_path / "x.summary.h5"
    with SummaryWriter(path) as writer:
        for kind in ("bca", "percentile"):
            run = writer.run(f"{kind}/m/p", {}, interval=kind)
            writer.metric(run, "base_loss", ["all"], [1.0], half_width=0.25)
    for options, expected in (
        ((), {"bca/m/p": 0.75, "percentile/m/p": 0.5}),
        (("--interval", "percentile"), {"bca/m/p": 0.5, "percentile/m/p": 0.5}),
    ):
        report(path, tmp_path / "out", *options)
        whole = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
        lows = {run["run_id"]: run["metrics"][0]["values"][0] for run in whole["runs"]}
        assert {name: low["interval_low"] for name, low in lows.items()} == expected


def test_json_has_the_headline_numbers(summary_path, tmp_path):
    report(summary_path, tmp_path / "out", "--top", "1")
    whole = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert whole["format"] == "mechsweep-report"
    assert (whole["name"], whole["seed"]) == ("small", "42")
    runs = {run["run_id"]: run for run in whole["runs"]}
    assert (runs["heads/tiny/abna"]["interval"], runs["heads/tiny/abna"]["level"]) == ("bca", 0.95)
    assert runs["heads/tiny/abna"]["warnings"] == [WARNING]
    assert runs["heads/tiny/abna"]["candidate_accuracy"] is None
    metrics = {metric["name"]: metric for metric in runs["heads/tiny/abna"]["metrics"]}
    effect = metrics["delta_loss"]
    assert (effect["cells"], effect["positive"], effect["largest"]) == (8, 5, 1.5)
    assert effect["top_ten_mean"] == pytest.approx(0.15)
    assert [head["name"] for head in effect["top"][0]["heads"]] == ["L1H2"]
    (scalar,) = metrics["base_loss"]["values"]
    assert (scalar["mean"], scalar["prompts"]) == (3.8, 64)


def test_launches_come_from_the_results_file(plain_path, tmp_path):
    results = tmp_path / "small.h5"
    write_results(results, [{"hosts": ["n1", "n2"], "started": "2026-01-02"}, {"hosts": ["<n3>"]}])
    for given in (results, plain_path):
        said = Page(report(given, tmp_path / "out")).text
        assert "Launch 1" in said and '["n1", "n2"]' in said and "2026-01-02" in said
        assert "Launch 2" in said and "<n3>" in said and "Launch 3" not in said


EXACT = {"float32": {"bit_exact": True, "interventions_compared": 24}}
INEXACT = {"bfloat16": {"bit_exact": False, "tolerance_nats": 3e-6, "rank": 2}}
SLIGHTLY = {"float32": {"bit_exact": False, "tolerance_nats": 2e-7}}
FAILED = {"float32": {"bit_exact": False, "tolerance_nats": 0.0, "failure": "no <onednn>"}}


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([EXACT, EXACT], "yes"),
        ([SLIGHTLY, INEXACT, EXACT], "NO: losses differ by up to 3e-06 nats (bfloat16, rank 2)"),
        ([INEXACT, FAILED], "NO: the self-test failed (float32): no <onednn>"),
        ([EXACT, None], "yes in 1 of 2 launches; the others have no self-test on record"),
        ([None], ""),
        (["yes", {"float32": 1}, {"float32": {"bit_exact": "true"}}], ""),
    ],
)
def test_whether_results_are_bit_exact_is_said(plain_path, tmp_path, tests, expected):
    launches = [{"attempt": 1} | ({"selftest": test} if test else {}) for test in tests]
    write_results(tmp_path / "small.h5", launches)
    said = Page(report(plain_path, tmp_path / "out")).text
    line = f"Results bit-exact: {expected}."
    # A NO is a warning as well, before everything else.
    assert said.count(line) == (0 if not expected else 2 if expected.startswith("NO") else 1)
    assert ("bit-exact:" in said) == bool(expected)
    if expected.startswith("NO"):
        assert said.index(line) < said.index("How to read this")


CERTIFIED = {"a": {"outcome": "passed", "reference": "none"}}
COMPARED = {"a": {"outcome": "passed", "reference": "r.json (transformers 5)"}}
REFUSED = {"a": {"outcome": "failed", "reference": "none", "why": "check 'batch': <2> results"}}


@pytest.mark.parametrize(
    ("certificates", "expected"),
    [
        ([CERTIFIED, None], "passed, no reference"),
        ([CERTIFIED, COMPARED], "passed, reference r.json (transformers 5)"),
        ([CERTIFIED, REFUSED, CERTIFIED], "FAILED: check 'batch': <2> results"),
        ([None, 7, {"a": 7}, {"a": {"outcome": True}}], ""),
    ],
)
def test_what_certificates_say_is_said(plain_path, tmp_path, certificates, expected):
    launches = [{"attempt": 1} | ({"certificates": one} if one else {}) for one in certificates]
    write_results(tmp_path / "small.h5", launches)
    said = Page(report(plain_path, tmp_path / "out")).text
    line = f"Certificate of model a: {expected}."
    failed = expected.startswith("FAILED")
    assert said.count(line) == (0 if not expected else 2 if failed else 1)
    assert ("Certificate of" in said) == bool(expected)
    if failed:
        assert said.index(line) < said.index("How to read this")


@pytest.mark.parametrize("content", [b"", b"not HDF5", None])
def test_a_results_file_that_cannot_be_used_does_not_matter(plain_path, tmp_path, content):
    results = tmp_path / "small.h5"
    if content is None:
        write_results(results, [{"hosts": ["n1"]}], key="00" * 32)
    else:
        results.write_bytes(content)
    said = Page(report(plain_path, tmp_path / "out")).text
    assert "Launch 1" not in said
    assert ("another sweep" if content is None else "small.h5 cannot be read") in said


def test_the_same_summary_gives_the_same_report(summary_path, tmp_path):
    for name in ("a", "b"):
        report(summary_path, tmp_path / name)
    first = {path.name: path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    second = {path.name: path.read_bytes() for path in (tmp_path / "b").rglob("*.*")}
    assert first == second


def fails(arguments, capsys, status):
    assert main([str(argument) for argument in arguments]) == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_missing_file(tmp_path, capsys):
    for name in ("none.h5", "none.summary.h5"):
        said = fails([tmp_path / name, "--out", tmp_path / "out"], capsys, 3)
        assert f"{name} does not exist" in said
    assert not (tmp_path / "out").exists()


def test_results_without_a_summary(tmp_path, capsys):
    write_results(tmp_path / "run.h5", [])
    said = fails([tmp_path / "run.h5", "--out", tmp_path / "out"], capsys, 3)
    assert "run.summary.h5 does not exist" in said and "mechsweep reduce" in said


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_something_that_is_not_hdf5(tmp_path, capsys, content):
    path = tmp_path / "x.summary.h5"
    path.write_bytes(content)
    assert str(path) in fails([path, "--out", tmp_path / "out"], capsys, 3)


def test_another_format_or_version(tmp_path, capsys):
    path = tmp_path / "x.summary.h5"
    for root, expected in (
        ({"format": "else"}, "its format is 'else'"),
        ({"format_version": 2}, "has format version 2, and this program reads version 1"),
        ({}, "has no runs"),
    ):
        with SummaryWriter(path, **root):
            pass
        assert expected in fails([path, "--out", tmp_path / "out"], capsys, 3)
    with h5py.File(path, "w"):
        pass
    assert "has no format attribute" in fails([path, "--out", tmp_path / "out"], capsys, 3)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda metric: metric.pop("bca_low"), "delta_loss has no dataset bca_low"),
        (
            lambda metric: metric["mean"].dims[1].detach_scale(metric.parent["head"]),
            "dimension 1 of /runs/heads/tiny/abna/delta_loss/mean has no dimension scale",
        ),
        (
            lambda metric: [metric.pop("rank"), metric.create_dataset("rank", data=[1, 2])],
            "delta_loss/rank has another shape",
        ),
    ],
)
def test_damage_is_named(summary_path, tmp_path, capsys, damage, expected):
    with h5py.File(summary_path, "r+") as file:
        damage(file["runs/heads/tiny/abna/delta_loss"])
    assert expected in fails([summary_path, "--out", tmp_path / "out"], capsys, 3)


def test_a_cut_off_summary(summary_path, tmp_path, capsys):
    path = tmp_path / "cut.summary.h5"
    path.write_bytes(summary_path.read_bytes()[:3000])
    assert "cut.summary.h5" in fails([path, "--out", tmp_path / "out"], capsys, 3)


def test_a_folder_that_cannot_be_written(plain_path, tmp_path, capsys):
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert str(occupied) in fails([plain_path, "--out", occupied], capsys, 4)
    (tmp_path / "out" / "report.json").mkdir(parents=True)
    assert main([str(plain_path), "--out", str(tmp_path / "out")]) == 4
    assert "report.json cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x.h5"],
        ["x.h5", "y.h5"],
        ["x.h5", "--out", "o", "--top", "0"],
        ["x.h5", "--out", "o", "--interval", "t"],
    ],
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_module_runs_as_a_program(plain_path, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "analysis"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-W", "error", "-m", "mechsweep_analysis"]
    helped = subprocess.run(
        [*command, "--help"], env=environment, capture_output=True, text=True, check=True
    )
    assert "--interval" in helped.stdout
    plain_path.chmod(stat.S_IRUSR)
    done = subprocess.run(
        [*command, plain_path, "--out", tmp_path / "out"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_text_that_is_not_utf8_is_still_shown(tmp_path):
    path = tmp_path / "x.summary.h5"
    with SummaryWriter(path) as writer:
        run = writer.run("e/m/p", {"layer": [0], "head": [0]})
        writer.metric(run, "delta_loss", LAYER_HEAD, [[1.0]])
        run.attrs["estimand"] = text("é").astype("S2").item()[:1]
    assert "Estimand: \N{REPLACEMENT CHARACTER}" in Page(report(path, tmp_path / "out")).text
