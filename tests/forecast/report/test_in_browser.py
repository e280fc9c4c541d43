"""The page in a real browser: what it answers, on a screen and on a phone, by day and by night."""

import csv
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import forecast
from forecast.numbers import count, digits
from forecast.report.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; apt-get install chromium"),
]
WIDTHS = (1280, 390)
MEASURE = """() => {
  const seen = [], bright = (colour) => {
    const parts = colour.match(/[\\d.]+/g).map(Number);
    const [r, g, b] = parts.slice(0, 3).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$/.test(colour) && colour !== "transparent") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  for (const element of document.querySelectorAll("p, td, th, h1, h2, h3, li, a, label, figcaption, summary, button")) {
    if (!element.innerText || !element.offsetParent) continue;
    const [a, b] = [bright(getComputedStyle(element).color), bright(behind(element))].sort((x, y) => y - x);
    seen.push([(a + 0.05) / (b + 0.05), element.innerText.slice(0, 40)]);
  }
  return seen;
}"""
LETTERS = """() => [...document.querySelectorAll("figure img")].map((img) => {
  const svg = new DOMParser().parseFromString(
    decodeURIComponent(img.currentSrc.slice(img.currentSrc.indexOf(",") + 1)), "image/svg+xml");
  const width = svg.documentElement.viewBox.baseVal.width, letters = [...svg.querySelectorAll("text")]
    .map((text) => Number(/font-size: ([\\d.]+)px/.exec(text.getAttribute("style"))[1]));
  return [img.dataset.name, Math.min(...letters) * img.clientWidth / width, img.alt];
})"""


@pytest.fixture(scope="module")
def page_file(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("page")
    answers = [forecast.next_runs(posterior, target_flops=1e19, spend=2e18)]
    return write_report(posterior, [recommendation], out, replicates=0, answers={"all": answers})


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def opened(browser: Any, file: Path, width: int = 1280, scheme: str = "light", **context: Any) -> Any:
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **context).new_page()
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on(
        "request", lambda request: None if re.match("file:|data:|blob:", request.url) else page.faults.append("net")
    )
    page.goto(file.as_uri())
    return page


def unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_too_wide_too_faint_or_broken(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    page = opened(browser, page_file, width, scheme)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    faint = [(ratio, text) for ratio, text in page.evaluate(MEASURE) if ratio < 4.5]
    assert not faint
    assert page.faults == []


@pytest.mark.parametrize("width", WIDTHS)
def test_figures_are_named_and_their_letters_large_enough(browser: Any, page_file: Path, width: int) -> None:
    page = opened(browser, page_file, width)
    unfold(page)
    found = page.evaluate(LETTERS)
    assert len(found) > 8
    for name, letters, alt in found:
        assert letters >= 11, name
        assert len(alt) > 20, name


@pytest.mark.parametrize("flops", [1e17, 3e18, 7e19])
def test_slider_says_what_recommend_says(
    browser: Any, page_file: Path, posterior: forecast.Posterior, flops: float
) -> None:
    page = opened(browser, page_file)
    page.fill("input[name=flops]", f"{flops:g}")
    assert_answer(cells(page), forecast.recommend(posterior, flops=flops))


@pytest.mark.parametrize(
    ("field", "limit"),
    [("params", {"max_params": 1.5e7}), ("samples", {"max_samples": 2e10}), ("unique", {"unique_samples": 1e10})],
)
def test_limits_say_what_recommend_says(
    browser: Any, page_file: Path, posterior: forecast.Posterior, field: str, limit: dict[str, float]
) -> None:
    page = opened(browser, page_file)
    page.fill(f"input[name={field}]", f"{next(iter(limit.values())):g}")
    assert_answer(cells(page), forecast.recommend(posterior, flops=1e19, **limit), optimum=False)


def test_at_first_it_says_what_the_page_says(
    browser: Any, page_file: Path, recommendation: forecast.Recommendation
) -> None:
    told = cells(opened(browser, page_file))
    assert told["parameters N"][0] == count(recommendation.params)
    assert told["samples D"][0] == count(recommendation.samples)
    for name, q in (("loss", recommendation.loss), ("return", recommendation.returns)):
        assert q is not None
        between = [f"{digits(q[low])} to {digits(q[high])}" for low, high in (("q25", "q75"), ("q05", "q95"))]
        assert told[f"{name} of the new run"][1:] == [digits(q["median"]), *between]
    optimum = recommendation.optimum_samples
    assert told["samples D"][3] == f"{count(optimum['q05'])} to {count(optimum['q95'])}"


def test_dragging_the_slider_changes_numbers_and_picture(browser: Any, page_file: Path) -> None:
    page = opened(browser, page_file)
    before = cells(page)
    assert page.is_hidden(".budget")
    page.locator("input[name=slide]").fill("17")
    after = cells(page)
    assert page.input_value("input[name=flops]") == "1e17"
    assert after["parameters N"] != before["parameters N"]
    assert page.is_visible(".budget .fifty")
    assert "Within the compute of the table" in page.inner_text(".message")


def test_another_size_gives_something_away(
    browser: Any, page_file: Path, recommendation: forecast.Recommendation
) -> None:
    page = opened(browser, page_file)
    page.fill("input[name=other]", count(recommendation.params / 5))
    told = re.search(r"gives away an expected ([\d.]+)% of the return", page.inner_text(".message"))
    assert told
    assert 1 < float(told[1]) < 60


@pytest.mark.parametrize(("text", "told"), [("many", "positive numbers"), ("1e40", "This page answers from")])
def test_slider_refuses_what_it_cannot_answer(browser: Any, page_file: Path, text: str, told: str) -> None:
    page = opened(browser, page_file)
    page.fill("input[name=flops]", text)
    assert told in page.inner_text(".message")
    assert page.faults == []


@pytest.mark.parametrize("width", WIDTHS)
def test_pointer_shows_the_row_beneath_it(
    browser: Any, page_file: Path, posterior: forecast.Posterior, width: int
) -> None:
    page = opened(browser, page_file, width)
    shape = "narrow" if width < 640 else "wide"
    row = hover(page, posterior, shape)
    told = page.locator("figure[data-picture=all-headline] .tip").inner_text()
    assert f"{count(row['params'])} parameters" in told
    assert f"return {digits(row['return_mean'])}" in told


def test_names_are_shown_as_they_are_and_never_run(
    browser: Any, posterior: forecast.Posterior, recommendation: forecast.Recommendation, tmp_path: Path
) -> None:
    name = "</script><img src=x onerror=\"document.title='run'\"> 'a' & b"
    named = replace(posterior, runs=replace(posterior.runs, table=posterior.runs.table.assign(run=name)))
    page = opened(browser, write_report(named, [recommendation], tmp_path, replicates=0))
    hover(page, posterior, "wide")
    assert page.locator("figure[data-picture=all-headline] .tip").inner_text().splitlines()[0] == name
    assert page.title() != "run"
    assert page.faults == []


def test_groups_of_any_name_are_all_answered(browser: Any, report_of_two: Callable[..., Path], tmp_path: Path) -> None:
    """A long name leaves the numbers in sight, and one of the page's own names stops no script."""
    names = [f"<script>alert(1)</script>{'L' * 300}", "held"]
    written = report_of_two(*names, tmp_path)
    for width in WIDTHS:
        page = opened(browser, written, width)
        unfold(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        forms = page.locator("form.ask")
        assert [forms.nth(k).locator("tbody tr").count() > 0 for k in range(forms.count())] == [True, True]
        assert [text.strip() for text in page.locator(".tiles a").all_inner_texts()] == names
        edges = page.locator(".wide tbody tr td:last-child").evaluate_all("cells => cells.map(c => c.offsetLeft)")
        assert max(edges[:2]) < width
        assert page.faults == []


def test_rows_and_forecast_can_be_downloaded(browser: Any, page_file: Path, posterior: forecast.Posterior) -> None:
    page = opened(browser, page_file, accept_downloads=True)
    saved = {}
    for name in ("rows", "grid"):
        with page.expect_download() as download:
            page.click(f"button[data-save={name}]")
        with open(download.value.path(), encoding="utf-8", newline="") as file:
            saved[name] = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in saved["rows"]] == pytest.approx(posterior.runs.table["loss"].tolist())
    assert {"flops", "params", "samples", "loss_median", "return_q95"} <= saved["grid"][0].keys()
    assert len(saved["grid"]) > 300


def test_a_link_into_a_fold_opens_it(browser: Any, page_file: Path) -> None:
    page = opened(browser, page_file)
    assert not page.locator("#diagnostics").evaluate("fold => fold.open")
    page.evaluate("location.hash = '#diagnostics'")
    page.wait_for_function("document.getElementById('diagnostics').open")


def test_without_script_it_reads_as_before(
    browser: Any, page_file: Path, recommendation: forecast.Recommendation
) -> None:
    page = opened(browser, page_file, java_script_enabled=False)
    assert page.is_visible('[id="all~recommended"]')
    assert page.is_hidden("form.ask")
    assert count(recommendation.params) in page.inner_text('[id="all~recommended"]')


def test_page_is_small_and_ready_within_a_second(browser: Any, page_file: Path) -> None:
    assert page_file.stat().st_size < 2e6
    pages = [opened(browser, page_file) for _ in range(3)]  # the machine may be busy with other tests
    ready = [page.evaluate("performance.getEntriesByType('navigation')[0].domComplete") for page in pages]
    assert min(ready) < 1000
    assert pages[0].evaluate("document.documentElement.scrollHeight") < 5000


def hover(page: Any, posterior: forecast.Posterior, shape: str) -> Any:
    """Point at the last row in the headline, drawn in one shape or the other; that row of the table."""
    points = page.evaluate(
        f"JSON.parse(document.getElementById('held').textContent).pictures['all-headline'].{shape}.points"
    )
    x, y, position = points[-1]
    row = posterior.runs.table.iloc[position]
    frame = page.locator("figure[data-picture=all-headline] .frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + (1 - y) * box["height"])
    return row


def cells(page: Any) -> dict[str, list[str]]:
    """Cells of the slider's table by the name of their row."""
    rows = page.locator("form.ask tbody tr").evaluate_all(
        "rows => rows.map((r) => [...r.cells].map((c) => c.textContent))"
    )
    return {name: rest for name, *rest in rows}


def assert_answer(told: dict[str, list[str]], wanted: forecast.Recommendation, *, optimum: bool = True) -> None:
    """To 2% in what is read from between the nodes of the grid; sizes to a step of those that are weighed."""
    assert wanted.loss is not None
    assert wanted.returns is not None
    assert number(told["parameters N"][0]) == pytest.approx(wanted.params, rel=0.1)
    assert number(told["samples D"][0]) == pytest.approx(wanted.samples, rel=0.1)
    for name, q in (("loss of the new run", wanted.loss), ("return of the new run", wanted.returns)):
        texts = [told[name][1], *told[name][2].split(" to "), *told[name][3].split(" to ")]
        names = ("median", "q25", "q75", "q05", "q95")
        assert [number(text) for text in texts] == pytest.approx([q[n] for n in names], rel=0.02)
    if optimum:
        low, high = told["parameters N"][3].split(" to ")
        assert [number(low), number(high)] == pytest.approx([wanted.optimum_params[n] for n in ("q05", "q95")], rel=0.1)


def number(text: str) -> float:
    """28 M, 5,520, 0.140."""
    value, _, unit = text.replace(",", "").partition(" ")
    return float(value) * {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[unit]
