#!/usr/bin/env python3
"""Makes a compilation database that clang-tidy can use, and lists the files to check.

    scripts/tidy_database.py BUILD OUT [--all] [FILE...]

Reads BUILD/compile_commands.json, writes OUT/compile_commands.json with what only GCC understands
taken out, and prints the sources to check, one a line. Files that include LibTorch, themselves or
through our headers, take about half a minute each and are printed only with --all, or when named.
"""

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
TORCH = ("ATen/", "torch/", "c10/")


@cache
def includes_torch(path):
    for own, outside in INCLUDE.findall(path.read_text(encoding="utf-8")):
        if (own or outside).startswith(TORCH):
            return True
        for folder in (ROOT / "src", ROOT, ROOT / "tests", path.parent):
            if own and (folder / own).is_file():
                if includes_torch((folder / own).resolve()):
                    return True
                break
    return False


def for_clang(arguments, omp_folder):
    """The compiler's arguments without launcher, precompiled header and GCC's own options.

    GCC's precompiled headers cannot be read by clang, which would stop at the first. OpenMP's
    pragmas are left alone, and its header is found behind all others in GCC's folder.
    """
    while arguments and not re.search(r"(g\+\+|c\+\+|clang\+\+)[-\d.]*$", arguments[0]):
        arguments = arguments[1:]
    kept = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "-include":
            header = next(rest)
            if "cmake_pch" not in header:
                kept += [argument, header]
        elif argument not in ("-Winvalid-pch", "-fpch-preprocess", "-fopenmp"):
            kept.append(argument)
    # The compiler has said what it thinks of the code; clang's own warnings are not asked for.
    kept.insert(1, "-w")
    # GCC's omp.h names the function that frees, in a form that clang does not know.
    return [*kept, "-D__malloc__(x)=__malloc__", "-idirafter", omp_folder]


def main(arguments):
    everything = "--all" in arguments
    build, out, *names = (name for name in arguments if name != "--all")
    wanted = {Path(name).resolve() for name in names}
    omp = subprocess.run(["g++", "-print-file-name=include"], capture_output=True, text=True)
    database = []
    for entry in json.loads((Path(build) / "compile_commands.json").read_text()):
        path = (Path(entry["directory"]) / entry["file"]).resolve()
        if "cmake_pch" in path.name or not path.is_relative_to(ROOT):
            continue
        entry["arguments"] = for_clang(shlex.split(entry.pop("command")), omp.stdout.strip())
        database.append(entry)
        if path in wanted or (not wanted and (everything or not includes_torch(path))):
            print(path.relative_to(ROOT))
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / "compile_commands.json").write_text(json.dumps(database, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
