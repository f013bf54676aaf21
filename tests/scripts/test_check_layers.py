"""check_layers.py is given small trees that keep or break the order, and must name the breach."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_layers.py"


def run(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False
    )
    breaches = [line for line in done.stdout.splitlines() if not line.startswith("check_layers:")]
    return done.returncode, breaches


def test_includes_downwards_are_allowed(tmp_path):
    status, breaches = run(
        tmp_path,
        {
            "src/core/error.h": "#include <string>\n#include <fmt/format.h>\n",
            "src/model/weights.cpp": '#include "model/weights.h"\n#include <ATen/ATen.h>\n',
            "src/engine/x.cpp": '#include "core/error.h"\n#include "model/weights.h"\n',
            "src/plan/yaml.cpp": "#include <yaml-cpp/yaml.h>\nYAML::Node n;\n",
            "src/store/file.cpp": "#include <hdf5.h>\n",
            "mpi/group.cpp": '#include <mpi.h>\n#include "store/file.h"\nint a = MPI_Barrier(c);\n',
            "src/app/main.cpp": '#include "mpi/group.h"\n#include "plan/plan.h"\n',
        },
    )
    assert (status, breaches) == (0, [])


@pytest.mark.parametrize(
    ("file", "text", "line", "word"),
    [
        ("src/core/a.h", '#pragma once\n\n#include "model/m.h"\n', 3, "model/m.h"),
        ("src/model/arch/llama.cpp", '#include "engine/edit.h"\n', 1, "engine/edit.h"),
        ("src/prompts/p.cpp", '#  include "stats/bootstrap.h"\n', 1, "stats/bootstrap.h"),
        ("src/store/s.cpp", '#include "mpi/group.h"\n', 1, "mpi/group.h"),
        ("mpi/x.cpp", '\n#include "app/main.h"\n', 2, "app/main.h"),
        ("src/core/a.cpp", '#include "../model/m.h"\n', 1, "../model/m.h"),
        ("src/stats/s.cpp", "#include <ATen/ATen.h>\n", 1, "LibTorch"),
        ("src/app/a.cpp", "#include <torch/torch.h>\n", 1, "LibTorch"),
        ("src/core/t.h", "#include <c10/util/Half.h>\n", 1, "LibTorch"),
        ("src/store/m.cpp", "#include <mpi.h>\n", 1, "MPI"),
        ("src/engine/n.cpp", "#include <nccl.h>\n", 1, "MPI"),
        ("src/app/m.cpp", "int x;\nvoid f() { MPI_Init(nullptr, nullptr); }\n", 2, "MPI_Init"),
        ("src/engine/n.cpp", "void f() { ncclAllReduce(); }\n", 1, "ncclAllReduce"),
        ("src/experiments/e.cpp", "#include <yaml-cpp/yaml.h>\n", 1, "yaml-cpp"),
        ("src/prompts/e.cpp", "YAML::Node node;\n", 1, "yaml-cpp"),
        ("src/plan/h.cpp", "#include <hdf5.h>\n", 1, "HDF5"),
        ("src/stats/cuda.cu", "#include <hdf5.h>\n", 1, "HDF5"),
    ],
)
def test_a_breach_is_named_with_its_place(tmp_path, file, text, line, word):
    status, breaches = run(tmp_path, {"src/core/fine.h": "#pragma once\n", file: text})
    assert status == 1
    assert len(breaches) == 1
    assert breaches[0].startswith(f"{file}:{line}: ")
    assert word in breaches[0]


def test_comments_and_strings_are_not_code(tmp_path):
    text = (
        "// MPI_Init is called in mpi/\n"
        '/* #include "app/main.h"\n'
        '#include "app/main.h"\n'
        "   MPI_Finalize */\n"
        'const char* a = "MPI_Init \\" ncclAllReduce";\n'
        'const char* b = R"x(YAML:: " MPI_Send)x";\n'
        "const int c = 1'000'000;  // ncclSend\n"
    )
    assert run(tmp_path, {"src/core/a.cpp": text}) == (0, [])


def test_code_after_a_string_on_the_same_line_is_seen(tmp_path):
    text = 'int n = 1\'000; const char* a = "//"; int b = MPI_Init(0, 0);\n'
    status, breaches = run(tmp_path, {"src/core/a.cpp": text})
    assert status == 1
    assert breaches[0].startswith("src/core/a.cpp:1: ")


def test_every_breach_is_listed(tmp_path):
    files = {
        "src/core/a.h": '#include "plan/p.h"\n#include <hdf5.h>\n',
        "src/model/b.h": '#include "app/q.h"\n',
    }
    status, breaches = run(tmp_path, files)
    assert status == 1
    assert [breach.split(": ")[0] for breach in breaches] == [
        "src/core/a.h:1",
        "src/core/a.h:2",
        "src/model/b.h:1",
    ]


def test_a_folder_without_a_place_in_the_order_is_a_breach(tmp_path):
    status, breaches = run(tmp_path, {"src/core/a.h": "", "src/extras/b.h": ""})
    assert status == 1
    assert breaches[0].startswith("src/extras:1: ")


def test_a_tree_without_sources_is_refused(tmp_path):
    assert run(tmp_path, {"README.md": "hello\n"})[0] == 2
