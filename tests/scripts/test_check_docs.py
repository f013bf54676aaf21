"""check_docs.py is given small pages whose paths exist or do not."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_docs.py"


def run(tmp_path, page, text):
    for name in ("src/core/error.h", "docs/testing.md", "docs/decisions/0001-layers.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    path = tmp_path / page
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False
    )
    breaches = [line for line in done.stdout.splitlines() if not line.startswith("check_docs:")]
    return done.returncode, breaches


@pytest.mark.parametrize(
    "text",
    [
        "See `src/core/error.h` and `src/core/`.",
        "See [testing](docs/testing.md#labels) and [the site](https://example.org/src/none.h).",
        "Put it in `src/FOLDER/x.cpp`, `models/NAME/` or `tests/unit/*/x_test.cpp`.",
        "```\nsrc/core/error.h\nbuild/mechsweep run /home/me/src/none.h\n```",
        "src/none.h outside of code is prose",
        "`--out results/x.h5`",
    ],
)
def test_existing_and_other_words_pass(tmp_path, text):
    assert run(tmp_path, "README.md", text + "\n") == (0, [])


@pytest.mark.parametrize(
    ("page", "text", "line", "word"),
    [
        ("README.md", "one\n\nSee `src/core/none.h`.\n", 3, "src/core/none.h"),
        ("README.md", "See [it](docs/none.md).\n", 1, "docs/none.md"),
        ("README.md", "```\ncat src/core/error.h docs/none.md\n```\n", 2, "docs/none.md"),
        ("README.md", "Run\n\n    scripts/none.sh --fast\n", 3, "scripts/none.sh"),
        ("CONTRIBUTING.md", "`docs/CHANGELOG.md`\n", 1, "docs/CHANGELOG.md"),
        ("docs/decisions/0009-x.md", "[bad](docs/testing.md)\n", 1, "docs/testing.md"),
    ],
)
def test_a_missing_path_is_named_with_its_place(tmp_path, page, text, line, word):
    status, breaches = run(tmp_path, page, text)
    assert status == 1
    assert len(breaches) == 1
    assert breaches[0].startswith(f"{page}:{line}: ")
    assert word in breaches[0]


def test_a_tree_without_documentation_is_refused(tmp_path):
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], check=False)
    assert done.returncode == 2
