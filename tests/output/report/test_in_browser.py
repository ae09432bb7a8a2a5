"""The page as a person meets it: opened from a disk in a headless Chromium, without network, by mouse and keyboard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import browser
from support.outcomes import begin
from support.report_scene import HOSTILE, WITH_PREVIEW, write_scene

from cosmos_ray.clip.request import VIEWS
from cosmos_ray.output.report.part import WHOLE
from cosmos_ray.output.report.together import write_together
from cosmos_ray.store.storage import Storage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.installed() is None, reason="there is no Chromium (`apt-get install chromium`)"),
]

#: Where screenshots go, for whoever wants to look at them.
SHOTS = os.environ.get("COSMOS_RAY_SCREENSHOTS")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty clips with all their videos and five failures, in files of ten rows."""
    folder = tmp_path_factory.mktemp("report")
    write_scene(folder / "m.parquet", Storage(str(folder / "out put")))
    return (folder / "out put" / "report.html").as_uri()


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    with browser.browser() as found:
        yield found


@pytest.fixture
def page(chromium: browser.Browser, url: str) -> Iterator[browser.Page]:
    """The page, just opened, as wide as a screen. Nothing goes wrong on it."""
    found = chromium.page()
    found.size(1440, 900)
    found.open(url)
    found.until("document.querySelector('.card') !== null")
    yield found
    assert found.errors == []
    assert found.ask("document.title") == "cosmos_ray: out put"
    found.close()


def ids(page: browser.Page) -> list[str]:
    found: list[str] = page.ask("[...document.querySelectorAll('.card')].map(one => one.getAttribute('aria-label'))")
    return found


def said(page: browser.Page) -> str:
    return str(page.ask("document.querySelector('[role=status]').textContent"))


def shot(page: browser.Page, name: str) -> None:
    if SHOTS:
        page.screenshot(Path(SHOTS) / f"{name}.png")


def test_clips_come_while_one_scrolls_until_all_are_there(page: browser.Page) -> None:
    assert said(page) == "60 clips"
    at_first = page.ask("LISTS.get('clips').rows.length")
    assert len(ids(page)) <= at_first < 60
    seen = set(ids(page))
    for _ in range(100):
        page.ask("scrollBy(0, 800), new Promise(requestAnimationFrame)")
        seen.update(ids(page))
    assert page.ask("found.shown") == 60
    assert seen == {f"drive-{number:03d}" for number in range(60)}
    assert len(ids(page)) < 60, "cards that are far away are not kept"
    page.ask("scrollTo(0, 0)")
    page.until("document.querySelector('.card')?.getAttribute('aria-label') === 'drive-000'")


def test_what_the_keyboard_leads_to_is_not_under_the_bar_at_the_top(page: browser.Page) -> None:
    """At any width at which the bar stays there, however many lines it has; nor under that of a clip by itself."""
    top, bar = "document.activeElement.getBoundingClientRect().top", "getBoundingClientRect().bottom"
    for width in (1440, 700):
        page.size(width, 700)
        page.until("document.documentElement.style.scrollPaddingTop !== ''")
        link = "[...document.querySelectorAll('h3 a')][5]"
        for above in ("0", "innerHeight", f"document.querySelector('.tools').offsetHeight - {link}.offsetHeight"):
            page.ask(f"document.activeElement.blur(), scrollBy(0, {link}.getBoundingClientRect().top + {above})")
            page.ask(f"{link}.focus(), new Promise(requestAnimationFrame)")
            assert page.ask(top) >= page.ask(f"document.querySelector('.tools').{bar}"), (width, above)
    page.size(390, 844)
    page.until("document.documentElement.style.scrollPaddingTop === ''")
    page.ask("document.querySelectorAll('h3 a')[4].click()")
    page.until(
        "document.querySelector('dialog').open && document.querySelector('dialog').style.scrollPaddingTop !== ''"
    )
    page.ask(
        "document.querySelector('dialog').scrollTo(0, 1e6), document.querySelector('dialog .player button').focus()"
    )
    assert page.ask(top) >= page.ask(f"document.querySelector('dialog header').{bar}")


def test_search_filters_and_order(page: browser.Page) -> None:
    page.key("/")
    assert page.ask("document.activeElement.type") == "search"
    page.type("STREET 5")
    page.until("document.querySelectorAll('.card').length === 11")
    assert ids(page) == ["drive-005", *(f"drive-{number:03d}" for number in range(50, 60))]
    assert said(page) == "11 of 60 clips"
    page.ask(f"{PICK}('weather', 'is', 'rain')")
    assert said(page) == "3 of 60 clips"
    assert ids(page) == ["drive-051", "drive-054", "drive-057"]
    page.ask(CHOOSE.replace("COLUMN", "seed"))
    page.until("document.querySelector('.card').getAttribute('aria-label') === 'drive-057'")
    assert ids(page) == ["drive-057", "drive-054", "drive-051"]
    page.ask("document.querySelector('.filters button').click()")
    page.until("document.querySelectorAll('.card').length === 11")
    page.ask("ui.descending.click()")
    page.until("document.querySelector('.card').getAttribute('aria-label') === 'drive-005'")


def test_numbers_are_shown_as_people_write_them_and_taken_as_they_are(page: browser.Page) -> None:
    """0.3 is three times 0.1, which is a little more."""
    page.ask(f"{PICK}('speed', 'at most', '0.3')")
    page.until("document.querySelectorAll('.card').length === 3")
    assert ids(page) == ["drive-000", "drive-001", "drive-002"]
    page.ask("document.querySelector('.filters button').click()")
    page.ask(f"{PICK}('speed', 'is', '0.3')")
    page.until("document.querySelectorAll('.card').length === 1")
    assert ids(page) == ["drive-003"]
    speed = "[...document.querySelectorAll('dt')].find(one => one.textContent === 'speed').nextSibling"
    assert page.ask(f"[{speed}.textContent, {speed}.title]") == ["0.3", "0.30000000000000004"]
    page.ask("document.querySelector('.filters button').click()")
    page.ask(f"{PICK}('seed', 'is', '97.0')")
    assert ids(page) == ["drive-003"]
    page.ask("ui.column.value = 'speed', ui.column.dispatchEvent(new Event('change'))")
    offered = page.ask("[...ui.values.children].map(one => one.value)")
    assert offered[:5] == ["0", "0.1", "0.2", "0.3", "0.4"], "in their order"


#: A filter, and an order, as a person sets them.
PICK = "(async (column, test, value) => { ui.column.value = column; ui.test.value = test; ui.value.value = value;"
PICK += " document.querySelector('form button').click(); await new Promise(requestAnimationFrame); })"
CHOOSE = "ui.sort.value = 'COLUMN', ui.sort.dispatchEvent(new Event('change'))"


def test_all_seven_views_play_together_in_the_order_of_the_rig(page: browser.Page) -> None:
    assert page.ask("[...document.querySelectorAll('.labels')[0].children].map(one => one.textContent)") == list(VIEWS)
    videos = "[...document.querySelector('.stage').querySelectorAll('video')]"
    page.hover(".stage .labels a")
    page.until(f"{videos}.length === 7 && {videos}.every(one => !one.paused && one.currentTime > 0.3)")
    times = page.ask(f"{videos}.map(one => one.currentTime)")
    assert max(times) - min(times) < 0.15
    page.hover("h1")
    page.until(f"{videos}.every(one => one.paused)")
    page.ask("document.querySelector('.stage .play').focus()")
    page.key("Enter")
    page.until(f"{videos}.every(one => !one.paused)")
    assert page.ask("document.querySelector('.stage .play').getAttribute('aria-pressed')") == "true"
    page.key(" ")
    page.until(f"{videos}.every(one => one.paused)")


def test_a_preview_is_one_small_video_of_all_views(page: browser.Page) -> None:
    """And until it plays a picture, which comes when it is near what is seen."""
    stage = f"document.querySelectorAll('.stage')[{WITH_PREVIEW}]"
    page.until(f"{stage}?.querySelector('img')?.naturalWidth === 192")
    assert page.ask(f"{stage}.querySelectorAll('video').length") == 0
    page.hover(f"li:nth-child({WITH_PREVIEW + 1}) .labels a")
    page.until(f"{stage}.querySelector('video')?.currentTime > 0.3")
    assert page.ask(f"{stage}.querySelector('video').src").endswith(f"/previews/drive-00{WITH_PREVIEW}/1.mp4")
    shot(page, "playing-1440")
    page.hover("h1")
    page.until(f"{stage}.querySelector('video') === null")
    ends = page.ask("[...document.querySelectorAll('.stage')].at(-1).querySelector('img') === null")
    assert ends, "what is far away is not fetched"


def test_one_click_leads_to_the_full_files_and_a_link_to_each_clip(page: browser.Page, url: str) -> None:
    page.ask("document.querySelectorAll('.stage')[2].querySelectorAll('.labels a')[3].click()")
    page.until("document.querySelector('dialog video')?.readyState >= 2")
    assert page.ask("location.hash") == "#drive-002"
    assert page.ask("document.querySelector('dialog video').src").endswith("/out%20put/clips/drive-002/1/rear.mp4")
    shot(page, "detail-1440")
    page.key("ArrowRight")
    page.until("document.querySelector('dialog h2').textContent === 'drive-003'")
    page.key("Escape")
    page.until("!document.querySelector('dialog').open && location.hash === ''")
    page.open(url + "#drive-009")  # the last row of its file
    page.until("document.querySelector('dialog h2')?.textContent === 'drive-009'")
    page.key("ArrowRight")
    page.until("document.querySelector('dialog h2').textContent === 'drive-010'")
    page.open(url + "#drive-055")
    page.until(
        "document.querySelector('dialog').open && document.querySelector('dialog h2')?.textContent === 'drive-055'"
    )
    page.open(url + "#drive-062")
    page.until("document.querySelector('dialog .class')?.textContent === 'input'")
    page.open(url + "#nobody")
    page.until("ui.status?.textContent === 'nobody is not on this page'")
    assert not page.ask("document.querySelector('dialog').open")


def test_clips_lie_in_a_grid_of_two_columns(page: browser.Page) -> None:
    """What is found by the search, by values; none where there is none."""
    choose = "(ui.down.value = 'weather', ui.across.value = 'seed', ui.down.dispatchEvent(new Event('change')))"
    page.ask("ui.search.value = 'drive-01', ui.search.dispatchEvent(new Event('input'))")
    page.ask(choose)
    page.until("document.querySelectorAll('.grid tbody tr').length === 3")
    assert page.ask("[...document.querySelectorAll('tbody th')].map(one => one.textContent)") == [
        *("weather fog", "weather rain", "weather sun"),
    ]
    assert page.ask("[...document.querySelectorAll('thead th')].map(one => one.textContent)") == [
        f"seed {seed}" for seed in range(81, 91)
    ]
    cells = "[...document.querySelectorAll('tbody tr')].map(line => [...line.querySelectorAll('a[href^=\"#\"]')]"
    assert page.ask(f"{cells}.map(one => one.textContent))") == [
        ["drive-019", "drive-016", "drive-013", "drive-010"],
        ["drive-018", "drive-015", "drive-012"],
        ["drive-017", "drive-014", "drive-011"],
    ]
    assert page.ask("document.documentElement.scrollWidth") <= 1440
    page.ask("document.querySelector('.grid').scrollIntoView()")
    page.until("[...document.querySelectorAll('.grid img')].some(one => one.naturalWidth)")
    shot(page, "grid-1440")
    page.ask("ui.down.value = '', ui.down.dispatchEvent(new Event('change'))")
    page.until("document.querySelectorAll('.cards .card').length === 10")


def test_hostile_words_are_read_and_never_run(page: browser.Page) -> None:
    page.until("document.querySelectorAll('.card').length > 2")
    hostile = "[...document.querySelectorAll('.card')[1].querySelectorAll('dd, .caption, .warnings li')]"
    shown = page.ask(f"{hostile}.filter(one => one.textContent === {json.dumps(HOSTILE)}).length")
    assert shown == 4, "caption, two columns, a warning"
    assert page.ask("document.querySelectorAll('.card script, .card img[src=\"x\"], .card [onerror]').length") == 0
    assert "javascript:alert(1)" in page.ask("[...document.querySelectorAll('dt')].map(one => one.textContent)")
    addresses = page.ask("[...document.querySelectorAll('a')].map(one => one.protocol)")
    assert set(addresses) == {"file:"}
    page.ask("ui.tabs[1].click()")
    page.until("document.querySelectorAll('.card.failures').length === 5")
    assert page.ask("document.querySelector('.error').textContent") == f"{HOSTILE} 60"
    again = page.ask("document.querySelector('.card.failures code').textContent")
    assert again.startswith("cosmos-ray retry '/")
    assert again.endswith("/out put' --id drive-060")
    smuggled = json.dumps('<img src="https://x/" onerror="document.title = 1">')
    page.ask(f"document.querySelector('.card').insertAdjacentHTML('beforeend', {smuggled})")
    page.until("document.querySelectorAll('.card img').length === 1")
    assert page.ask("new Promise(done => setTimeout(() => done(document.title), 100))") == "cosmos_ray: out put"
    assert page.errors
    assert [error for error in page.errors if "Content Security Policy" not in error] == []
    page.errors.clear()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_every_screen_by_day_and_night(page: browser.Page, width: int, dark: bool) -> None:
    page.size(width, 844, dark)
    assert page.ask("document.documentElement.scrollWidth") <= width
    colours = page.ask(
        "['color', 'background-color'].map(name => getComputedStyle(document.body).getPropertyValue(name))"
    )
    assert colours == (["rgb(228, 232, 236)", "rgb(20, 24, 28)"] if dark else ["rgb(28, 33, 38)", "rgb(255, 255, 255)"])
    shot(page, f"page-{width}-{'dark' if dark else 'light'}")
    page.ask("document.querySelector('.cards').scrollIntoView()")
    shot(page, f"clips-{width}-{'dark' if dark else 'light'}")
    page.ask("ui.tabs[1].click()")
    page.until("document.querySelectorAll('.card.failures').length === 5")
    assert page.ask("document.documentElement.scrollWidth") <= width
    page.ask("document.querySelector('.cards').scrollIntoView()")
    shot(page, f"failures-{width}-{'dark' if dark else 'light'}")


def test_a_screen_reader_is_told_what_everything_is(page: browser.Page) -> None:
    names = page.names()
    for expected in (
        *(("heading", "cosmos_ray: out put"), ("searchbox", "search"), ("combobox", "sort by"), ("combobox", "value")),
        *(("button", "Play all views of drive-000"), ("link", "front_wide in full size"), ("article", "drive-000")),
        *(("image", "92.3% made, 7.7% failed"), ("link", "drive-000")),
    ):
        assert expected in names
    unnamed = [
        role for role, name in names if role in ("button", "link", "combobox", "searchbox", "article") and not name
    ]
    assert unnamed == []


@pytest.mark.long
def test_a_page_of_several_outputs_tells_clips_of_one_id_apart(chromium: browser.Browser, tmp_path: Path) -> None:
    outputs = [tmp_path / "parts" / name for name in ("a", "b")]
    for output in outputs:
        write_scene(tmp_path / "m.parquet", Storage(str(output)), made=5, failed=2)
        begin(Storage(str(output)), str(tmp_path / "m.parquet"))
    url = Path(write_together([str(output) for output in outputs], WHOLE)).as_uri()
    page = chromium.page()
    page.size(1440, 900)
    for asked, output in (("drive-003", "a"), ("b%2Fdrive-003", "b")):
        page.open("about:blank")
        page.open(f"{url}#{asked}")
        page.until("document.querySelector('dialog h2')?.textContent === 'drive-003'")
        assert page.ask("location.hash") == f"#{output}%2Fdrive-003"
        assert f"/parts/{output}/clips/drive-003/1/" in page.ask("document.querySelector('dialog video').src")
    page.key("ArrowRight")
    page.until("document.querySelector('dialog h2').textContent === 'drive-004'")
    page.open("about:blank")
    page.open(f"{url}#b%2Fdrive-006")
    page.until("document.querySelector('dialog .class')?.textContent === 'input'")
    assert page.ask("document.querySelector('dialog code').textContent").endswith("/parts/b --id drive-006")
    page.key("ArrowLeft")
    page.until("document.querySelector('dialog h2').textContent === 'drive-005'")
    shown = page.ask("[...document.querySelectorAll('.counts code')].map(one => one.textContent)")
    assert shown == [f"cosmos-ray retry {output} --class input" for output in outputs]
    shot(page, "together-1440")
    assert page.errors == []
    page.close()
