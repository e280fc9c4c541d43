"""Figures as files: SVG that is small, equal for equal figures, and dark where the reader's screen is; PNG."""

import io
import re
import warnings
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

from forecast.report.figures.style import (
    CHOSEN,
    FAINT,
    FORECAST,
    GRID,
    INK,
    METHOD_COLOURS,
    OUTCOME,
    QUIET,
    RULE,
    in_style,
)

_DARK = {
    INK: "#e6e6e6",
    QUIET: "#a9adb3",
    FAINT: "#6f757d",
    RULE: "#7a7f87",
    GRID: "#2c3037",
    FORECAST: "#56b4e9",
    CHOSEN: "#ff8a3d",
    OUTCOME: "#c9a0dc",
    METHOD_COLOURS["power_law"]: "#2fc49a",
    METHOD_COLOURS["huber_lse"]: "#e0a52e",
    "#ffffff": "#15181c",
}
"""On a dark page: what stands for each colour of the house."""
_FONTS = "'DejaVu Sans', Verdana, system-ui, sans-serif"
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_DIGITS = re.compile(r"(\.\d)\d+")
_DISC = re.compile(r"M 0 ([\d.]+) ?\s*C")
_TICK = f"stroke: {RULE}"
_KEPT = {"d", "x", "y", "transform"}  # attributes with coordinates


def svg(figure: Figure) -> bytes:
    """The figure as SVG; its text stays text, coordinates are rounded to a tenth of a point."""
    made = _bytes(figure, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(made)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for group in list(root.iter(f"{{{_SVG}}}g")):
        _join_dots(group)
    drawn = {f"#{path.get('id')}" for path in root.iter(f"{{{_SVG}}}path") if path.get("style")}
    for one in root.iter():
        _shorten(one)
        if one.get(f"{{{_LINK}}}href") in drawn and _TICK in one.get("style", ""):
            del one.attrib["style"]  # the path that is used says it
    style = root.find(f"{{{_SVG}}}defs/{{{_SVG}}}style")
    assert style is not None
    style.text = f"{style.text}text{{font-family:{_FONTS}}}{_dark()}"
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode")).encode()


def _shorten(one: ElementTree.Element) -> None:
    """Round coordinates, and drop names and styles that change nothing."""
    for name in _KEPT & set(one.attrib):
        one.set(name, " ".join(_DIGITS.sub(r"\1", one.attrib[name]).split()))
    if one.tag.endswith("}g"):
        one.attrib.pop("id", None)
    if one.get("transform", "").startswith("rotate(-0 "):
        del one.attrib["transform"]
    if style := one.get("style"):
        one.set("style", style.replace("font-family: 'DejaVu Sans'; ", "").replace("text-anchor: start; ", ""))


def _join_dots(group: ElementTree.Element) -> None:
    """Discs or rings of one size as one path a style, in place of an element each.

    A disc is a stroke without length whose ends are round; a ring is two arcs.
    """
    disc = group.find(f"{{{_SVG}}}defs/{{{_SVG}}}path")
    uses = group.findall(f".//{{{_SVG}}}use")
    if disc is None or len(uses) < 2 or (found := _DISC.match(disc.get("d", ""))) is None:
        return
    link, radius = f"#{disc.get('id')}", float(found[1])
    if any(use.get(f"{{{_LINK}}}href") != link for use in uses):
        return
    places: dict[str, list[str]] = {}
    for use in uses:
        style, x, y = use.get("style", ""), float(use.get("x", 0)), float(use.get("y", 0))
        if "stroke: #" in style:
            arcs = f"a{radius} {radius} 0 1 0 {2 * radius} 0a{radius} {radius} 0 1 0 {-2 * radius} 0"
            places.setdefault(style, []).append(f"M{x - radius:.1f} {y:.1f}{arcs}")
        else:
            stroke = style.replace("fill", "stroke")
            style = f"fill: none; {stroke}; stroke-width: {2 * radius:.2f}; stroke-linecap: round"
            places.setdefault(style, []).append(f"M{x:.1f} {y:.1f}h0")
    clipped, *others = group.findall(f"{{{_SVG}}}g")
    for child in list(clipped):
        clipped.remove(child)
    for other in others:
        group.remove(other)
    for style, at in places.items():
        ElementTree.SubElement(clipped, f"{{{_SVG}}}path", d="".join(at), style=style)
    for unused in group.findall(f"{{{_SVG}}}defs"):
        group.remove(unused)


def png(figure: Figure) -> bytes:
    """The figure as PNG, 200 dots an inch."""
    return _bytes(figure, format="png", dpi=200)


def _dark() -> str:
    """Rules of style: the colours of the house on a dark page."""
    rules = [
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    ]
    ink = f"text{{fill:{_DARK[INK]}}}"  # black, where no style says otherwise
    return f"@media (prefers-color-scheme:dark){{{ink}{''.join(rules)}}}"


def _bytes(figure: Figure, **how: Any) -> bytes:
    buffer = io.BytesIO()
    with in_style(8.5), rc_context(), warnings.catch_warnings():
        # Of a name in other letters; browsers have them.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, **how)
    return buffer.getvalue()
