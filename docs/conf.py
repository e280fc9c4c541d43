"""How Sphinx builds the documents: `make docs`. Nothing is fetched, neither while building nor while reading."""

import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "Game scaling"
author = "The game-scaling authors"
version = release = version("game-scaling")

extensions = ["myst_nb", "sphinx.ext.autodoc", "plain_docstrings", "formulas"]
exclude_patterns = ["extensions"]
smartquotes = False  # docstrings quote code
html_theme = "furo"
html_title = "Game scaling"
html_copy_source = html_show_sourcelink = html_show_copyright = False
html_theme_options = {"sidebar_hide_name": False}
html_static_path = ["static"]
html_css_files = ["pages.css"]

# Pages whose head names a kernel are executed on every build; an error in a cell fails it.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # where tqdm misses a widget
nb_render_markdown_format = "myst"
suppress_warnings = ["mystnb.unknown_mime_type"]

# Docstrings write `code` in single backticks, arguments as `name: what it is`.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Types of other packages have no page here.
nitpick_ignore_regex = [("py:.*", r"(?!forecast\.\w+$).*")]
