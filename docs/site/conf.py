"""How Sphinx makes the site of the documentation out of the pages in docs/: `make docs`."""

from __future__ import annotations

from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

project = "Tidemark"
author = "the authors of Tidemark"
version = release = version_of("tidemark-metering")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinxcontrib.openapi"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site"]

html_theme = "furo"
html_title = "Tidemark"
html_show_sourcelink = html_show_sphinx = html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0a6b5e", "color-brand-content": "#0a6b5e"},
    "dark_css_variables": {"color-brand-primary": "#5fd0bf", "color-brand-content": "#5fd0bf"},
}  # fmt: skip
# Links to headings are checked as those to pages are.
myst_heading_anchors = 4
suppress_warnings: list[str] = []
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_numpy_docstring, napoleon_google_docstring = True, False

# A file at the top of the repository, and the page that shows it.
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "weaknesses.md",
    "LICENSE": "licence.md",
}


def _read(_app: Any, _page: str, source: list[str]) -> None:
    """Lead links to the top of the repository to its pages."""
    for name, page in TOP.items():
        source[0] = source[0].replace(f"](../{name}", f"]({page}")


def _include(_app: Any, _file: Path, _page: str, source: list[str]) -> None:
    """The same, of a page that is at the top itself."""
    for name, page in TOP.items():
        source[0] = source[0].replace(f"]({name}", f"]({page}")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    app.connect("include-read", _include)
