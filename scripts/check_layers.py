#!/usr/bin/env python3
"""Checks that the source folders include each other only downwards.

    scripts/check_layers.py [ROOT]

Each folder of src/, and mpi/, may include only itself and the folders before it in LAYERS
(docs/decisions/0001-layers.md). Some outside libraries belong to one or two folders (LIBRARIES,
CALLS). Prints one line FILE:LINE: MESSAGE for every breach; exits 1 when there is one, 2 when
ROOT has no sources.
"""

import re
import sys
from pathlib import Path

LAYERS = [
    "core",
    "model",
    "engine",
    "prompts",
    "stats",
    "experiments",
    "plan",
    "store",
    "mpi",
    "app",
]
SUFFIXES = {".h", ".hpp", ".cpp", ".cc", ".cu", ".cuh"}

# (what an included path looks like, its name, the layers that may include it)
LIBRARIES = [
    (re.compile(r"(torch|ATen|c10|caffe2)/"), "LibTorch", {"model", "engine"}),
    (re.compile(r"(mpi\.h$|openmpi/|nccl)"), "MPI or NCCL", {"mpi"}),
    (re.compile(r"yaml-cpp/"), "yaml-cpp", {"plan"}),
    (re.compile(r"(hdf5\.h|hdf5_hl\.h|H5[A-Z][A-Za-z]*\.h)$"), "HDF5", {"store", "mpi"}),
]
# Names that give away the use of a library whose header came in through another one.
CALLS = [
    (re.compile(r"\b(P?MPI_[A-Z]\w*|nccl[A-Z]\w*)"), "MPI or NCCL", {"mpi"}),
    (re.compile(r"\bYAML::"), "yaml-cpp", {"plan"}),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
# What has to go before names are looked for: comments, raw strings, strings and characters. A
# character must not start after a digit: 1'000'000 is a number.
NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"|"""
    r""""(?:\\.|[^"\\\n])*"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+\'""",
    re.DOTALL,
)


def blank(match):
    """A comment or string as white space that keeps the line numbers."""
    return re.sub(r"[^\n]", " ", match.group())


def source_files(root):
    """Yields (layer, path) of every source file of the program, in a fixed order."""
    for layer in LAYERS:
        folder = root / "mpi" if layer == "mpi" else root / "src" / layer
        for path in sorted(folder.rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                yield layer, path


def unknown_folders(root):
    """Folders of src/ that LAYERS does not know, and so would go unchecked."""
    return sorted(
        path
        for path in (root / "src").glob("*")
        if path.is_dir() and (path.name not in LAYERS or path.name == "mpi")
    )


def check_include(layer, included):
    """Says what is wrong with `layer` including the path `included`, or None."""
    folder = included.split("/")[0]
    if folder in LAYERS and "/" in included and LAYERS.index(folder) > LAYERS.index(layer):
        return f"{layer} includes {included}, but {folder} comes after {layer}"
    if included.startswith("../") or included.startswith("src/"):
        return f"{included} must be named by its folder, as in core/error.h"
    for pattern, library, layers in LIBRARIES:
        if pattern.match(included) and layer not in layers:
            return f"{layer} includes {included}; {library} belongs to {', '.join(sorted(layers))}"
    return None


def check_text(layer, text):
    """Yields (line, message) for every breach in a file of `layer`; lines count from 1."""
    code = NOT_CODE.sub(blank, text).splitlines()
    for number, (line, code_line) in enumerate(zip(text.splitlines(), code, strict=False), start=1):
        # The include's path is itself a string, so the line is judged as it was written, if the
        # directive survived the removal of comments.
        include = INCLUDE.match(line) if "#" in code_line else None
        if include:
            message = check_include(layer, include.group(1) or include.group(2))
            if message:
                yield number, message
            continue
        for pattern, library, layers in CALLS:
            name = pattern.search(code_line)
            if name and layer not in layers:
                belongs = ", ".join(sorted(layers))
                yield number, f"{layer} uses {name.group()}; {library} belongs to {belongs}"


def check(root):
    """All breaches below `root`, as lines FILE:LINE: MESSAGE."""
    breaches = [
        f"{path.relative_to(root)}:1: the folder is not in LAYERS of scripts/check_layers.py"
        for path in unknown_folders(root)
    ]
    for layer, path in source_files(root):
        for line, message in check_text(layer, path.read_text(encoding="utf-8")):
            breaches.append(f"{path.relative_to(root)}:{line}: {message}")
    return breaches


def main(arguments):
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0 if len(arguments) == 1 else 2
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent).resolve()
    files = sum(1 for _ in source_files(root))
    if files == 0:
        print(f"{root} has no sources in src/ or mpi/.", file=sys.stderr)
        return 2
    breaches = check(root)
    for breach in breaches:
        print(breach)
    print(f"check_layers: {files} files, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
