#!/usr/bin/env python3
"""Checks that every path named in the documentation exists.

    scripts/check_docs.py [ROOT]

Reads README.md, CONTRIBUTING.md and all Markdown below docs/. A path is
  - the target of a Markdown link or image that is not an address; it is relative to its page;
  - a word in `code` or a code block that begins with a folder or is a file of the checkout, such
    as src/core/error.h; it is relative to ROOT. Words with placeholders in capitals (models/NAME/)
    or shell or glob characters, and folders that are made by running (build/, models/, results/,
    .deps/), are left alone.
Prints FILE:LINE: MESSAGE for each that is missing; exits 1 when there is one, 2 when ROOT has no
README.md and no docs/.
"""

import re
import sys
import urllib.parse
from pathlib import Path

# What a path has to start with to be taken for one of ours.
FOLDERS = (
    "analysis",
    "benchmarks",
    "cmake",
    "configs",
    "docs",
    "mpi",
    "scripts",
    "slurm",
    "src",
    "tests",
    ".ci",
)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
CODE = re.compile(r"`([^`]+)`")
WORD = re.compile(
    r"(?<![\w./~$}-])(?:\./)?((?:" + "|".join(map(re.escape, FOLDERS)) + r")/[^\s`'\"(),;:|<>=]*)"
)
# Not a literal path: NAME or <name>, globs, variables, an ellipsis.
PLACEHOLDER = re.compile(r"[*?{}$<>\[\]]|\.\.\.|…|(?:^|[/._-])[A-Z]{3,}(?:$|[/._-])")
# Upper-case names that do exist.
REAL_NAMES = re.compile(r"\b(README|CONTRIBUTING|CHANGELOG|LICENSE|NOTICE)\b")


def pages(root):
    found = [root / "README.md", root / "CONTRIBUTING.md"]
    found += sorted((root / "docs").rglob("*.md"))
    return [page for page in found if page.is_file()]


def code_words(line, in_block):
    """The parts of a line that are code: all of it in a block, else what is between backquotes."""
    return [line] if in_block else CODE.findall(line)


def missing_links(root, page, line):
    for target in LINK.findall(CODE.sub("", line)):
        if re.match(r"[a-z][a-z0-9+.-]*:", target) or target.startswith("#"):
            continue
        path = urllib.parse.unquote(target.split("#")[0])
        whole = (root / path[1:]) if path.startswith("/") else (page.parent / path)
        if not whole.exists():
            yield f"the link to {target} leads nowhere"


def missing_words(root, text):
    for word in WORD.findall(text):
        path = word.rstrip(".!?")
        if PLACEHOLDER.search(REAL_NAMES.sub("", path)):
            continue
        if not (root / path).exists():
            yield f"{path} does not exist"


def check_page(root, page):
    """Yields FILE:LINE: MESSAGE for every missing path of one page."""
    fence = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        opening = re.match(r"\s*(```+|~~~+)", line)
        if opening and (fence is None or line.strip().startswith(fence)):
            fence = opening.group(1) if fence is None else None
            continue
        in_block = fence is not None or line.startswith("    ")
        messages = [] if in_block else list(missing_links(root, page, line))
        for text in code_words(line, in_block):
            messages += missing_words(root, text)
        for message in messages:
            yield f"{page.relative_to(root)}:{number}: {message}"


def main(arguments):
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return 0 if len(arguments) == 1 else 2
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent).resolve()
    found = pages(root)
    if not found:
        print(f"{root} has no README.md and no docs/.", file=sys.stderr)
        return 2
    breaches = [breach for page in found for breach in check_page(root, page)]
    for breach in breaches:
        print(breach)
    print(f"check_docs: {len(found)} pages, {len(breaches)} missing paths")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
