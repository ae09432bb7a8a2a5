"""The page of a comparison as a person meets it: opened from a disk in a headless Chromium, by mouse and keyboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import browser
from support.compared import FAILED, HOSTILE, SETTINGS, write_outputs

from cosmos_ray.clip.likeness import Likeness
from cosmos_ray.output.compare import distance
from cosmos_ray.output.compare.build import write_comparison
from cosmos_ray.store.storage import Storage

pytestmark = [
    pytest.mark.long,  # its sibling: test_build.py
    pytest.mark.skipif(browser.installed() is None, reason="there is no Chromium (`apt-get install chromium`)"),
]

#: Where screenshots go, for whoever wants to look at them.
SHOTS = os.environ.get("COSMOS_RAY_SCREENSHOTS")
STILL = "[...document.querySelectorAll('video')].every((one) => one.paused)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    with browser.browser() as found:
        yield found


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("compared")
    settings, ids = write_outputs(folder, rows=16)
    far = iter(range(1, 1000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distance, "likeness", lambda *_: Likeness(float(next(far) * 37 % 101), 0.9))
        write_comparison(Storage(str(folder / "judged")), settings, ids, lambda _: None, price=3.0)
    return (folder / "judged" / "compare.html").as_uri()


@pytest.fixture
def page(chromium: browser.Browser, url: str) -> Iterator[browser.Page]:
    found = chromium.page()
    found.size(1440, 900)
    found.open(url)
    found.until("document.querySelectorAll('.pair').length >= 12")
    yield found
    assert found.errors == []
    found.close()


def test_clips_of_all_settings_play_together_and_in_step(page: browser.Page) -> None:
    assert page.ask("document.querySelector('.pair').querySelectorAll('figure').length") == len(SETTINGS)
    page.hover(".pair .sides")
    playing = "[...document.querySelector('.pair').querySelectorAll('video')]"
    page.until(f"{playing}.length === 3 && {playing}.every((one) => !one.paused && one.currentTime > 0.2)")
    times = page.ask(f"{playing}.map((one) => one.currentTime)")
    assert max(times) - min(times) < 0.2
    page.ask("document.querySelector('.pair button').focus()")
    page.hover("h1")
    page.until("document.querySelectorAll('.pair video').length === 0")
    page.key("Enter")
    page.until(f"{playing}.length === 3")
    assert page.ask("document.querySelector('.pair button').getAttribute('aria-pressed')") == "true"


def test_a_view_opens_in_full_size_under_all_settings(page: browser.Page) -> None:
    page.ask("document.querySelectorAll('.pair')[2].querySelector('.labels a').click()")
    shown = "[...document.querySelectorAll('#detail video')]"
    page.until(f"{shown}.length === 3 && {shown}.every((one) => one.currentTime > 0.1)")
    assert page.ask("decodeURIComponent(location.hash)") == "#drive-2"
    if SHOTS:
        page.screenshot(Path(SHOTS) / "compare-detail.png")
    page.ask("const slider = document.querySelector('#detail input'); slider.value = 500; slider.oninput()")
    page.until(f"{shown}.every((one) => one.paused && Math.abs(one.currentTime - one.duration / 2) < 0.06)")
    page.ask("document.querySelector('#detail h2').closest('dialog').focus()")
    page.key("ArrowRight")
    page.until(f"document.getElementById('detail-id').textContent === '{FAILED}'")
    assert "is not finite" in page.ask("document.getElementById('detail').textContent")
    page.key("Escape")
    page.until("!document.getElementById('detail').open && location.hash === ''")
    assert page.ask(STILL)


def test_an_address_opens_at_its_clip(chromium: browser.Browser, url: str) -> None:
    page = chromium.page()
    page.open(f"{url}#drive-13")  # not among the first that are shown
    page.until("document.getElementById('detail-id')?.textContent === 'drive-13'")
    page.close()


def test_the_furthest_come_first_and_search_finds(page: browser.Page) -> None:
    ids = "[...document.querySelectorAll('.pair h3')].map((one) => one.textContent)"
    assert page.ask(ids)[:2] == ["drive-0", "drive-1"]
    choose = "const order = document.querySelector('select'); order.value = {}; order.onchange(); {}"
    last = page.ask(choose.format("String(order.options.length - 3)", ids))
    assert page.ask("document.querySelector('select').selectedOptions[0].textContent").endswith("lowest PSNR first")
    values = page.ask("page.found.map((rows) => LIST.value(rows[2], 'psnr_db'))")
    known = [value for value in values if value is not None]
    assert known == sorted(known)
    assert values[: len(known)] == known
    assert last
    page.ask("document.querySelector('input[type=search]').value = 'street 7'; search()")
    assert page.ask(ids) == ["drive-7"]


def test_hostile_words_are_words(page: browser.Page) -> None:
    page.until("document.querySelectorAll('.pair').length >= 12")
    assert page.ask("document.title") != "run"
    assert page.ask("document.querySelectorAll('.pair .caption')[1].textContent") == HOSTILE
    assert page.ask("document.querySelectorAll('img[src=x]').length") == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_sticks_out_and_everything_has_a_name(page: browser.Page, width: int, dark: bool) -> None:
    page.size(width, 900, dark=dark)
    page.until("[...document.querySelectorAll('.pair .pictures img')].slice(0, 3).every((one) => one.naturalWidth > 0)")
    assert page.ask("document.documentElement.scrollWidth") <= width
    named = [(role, name) for role, name in page.names() if role in ("button", "link", "searchbox", "combobox")]
    assert named
    assert all(name for _, name in named)
    if SHOTS:
        page.screenshot(Path(SHOTS) / f"compare-{width}-{'dark' if dark else 'light'}.png")
