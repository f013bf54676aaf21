"""Pieces of HTML that several pages use. Every text that comes from a file is escaped here."""

import base64
import html
from importlib import resources

from mechsweep_analysis.figures.frame import PNG_DPI
from mechsweep_analysis.hdf5_text import clean
from mechsweep_analysis.render import FigureFile
from mechsweep_analysis.studies.product import Product

# Nothing may be loaded, whatever a config or an id holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
CSS_PIXELS = 96  # per inch


def escape(value) -> str:
    """Text for an element or a quoted attribute."""
    return html.escape(clean(str(value)), quote=True)


def make_table(header: list[str], rows: list[list], caption: str = "") -> str:
    """A table; cells are escaped here, so give plain values."""
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="wide" tabindex="0"><table>{said}<thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def make_figure(figure: FigureFile) -> str:
    data = base64.b64encode(figure.png).decode("ascii")
    # Pixel sizes are in the PNG's header, big-endian, after its signature and the name IHDR.
    pixels = (int.from_bytes(figure.png[at : at + 4], "big") for at in (16, 20))
    width, height = (round(size * CSS_PIXELS / PNG_DPI) for size in pixels)
    return (
        f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
        f'alt="{escape(figure.caption)}">'
        f"<figcaption>{escape(figure.caption)} <code>figures/{escape(figure.name)}.svg</code>"
        "</figcaption></figure>"
    )


def make_product(product: Product) -> str:
    """A part of a page about several runs, or about several files."""
    parts = [f"<h3>{escape(product.title)}</h3>", f"<p>{escape(product.said)}</p>"]
    parts += [make_figure(figure) for figure in product.figures]
    if product.rows:
        parts.append(make_table(product.header, product.rows))
    if product.documents:
        files = ", ".join(f"<code>tables/{escape(name)}</code>" for name in product.documents)
        parts.append(f"<p>Files: {files}</p>")
    return "\n".join(parts)


def document(title: str, *parts: str) -> str:
    """A whole page; `title` is plain text, the parts are HTML."""
    css = resources.files("mechsweep_analysis").joinpath("report.css").read_text("utf-8")
    whole = "\n".join(part for part in parts if part)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
{css.strip()}
</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{whole}
</main>
</body>
</html>
"""
