"""The page opened in a headless Chromium from a bucket, and from a plain web server: a name that it is linked by."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import browser
from support.report_scene import WITH_PREVIEW, write_scene

from cosmos_ray.store.storage import Storage, filesystem_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.installed() is None, reason="there is no Chromium (`apt-get install chromium`)"),
]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a folder of this machine, as `python -m http.server` gives it."""
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def for_everybody(bucket: str) -> str:
    """Let everybody read the bucket; its address."""
    name = bucket.partition("://")[2].partition("/")[0]
    leave = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{name}/*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [leave]})
    filesystem_of(bucket)[0].call_s3("put_bucket_policy", Bucket=name, Policy=policy)
    return bucket.replace("s3://", f"{os.environ['AWS_ENDPOINT_URL']}/")


def look(url: str) -> None:
    """Its rows, pictures, previews, files and links are there."""
    with browser.browser() as chromium:
        page = chromium.page()
        page.size(1440, 900)
        page.open(f"{url}/report.html")
        page.until("document.querySelectorAll('.card').length >= 12")
        stage = f"document.querySelectorAll('.stage')[{WITH_PREVIEW}]"
        page.until(f"{stage}.querySelector('img')?.naturalWidth === 192")
        page.hover(f"li:nth-child({WITH_PREVIEW + 1}) .labels a")
        page.until(f"{stage}.querySelector('video')?.currentTime > 0.3")
        page.ask("ui.search.value = 'street 11', ui.search.dispatchEvent(new Event('input'))")
        page.until("document.querySelectorAll('.card').length === 1")
        page.open("about:blank")
        page.open(f"{url}/report.html#drive-005")
        page.until("document.querySelector('dialog h2')?.textContent === 'drive-005'")
        page.until("document.querySelector('dialog video')?.readyState >= 2")
        page.open("about:blank")
        page.open(f"{url}/report.html#drive-012")
        page.until("document.querySelector('dialog .class')?.textContent === 'input'")
        # A browser asks every server for a picture of its own.
        assert [error for error in page.errors if not error.endswith("/favicon.ico")] == []


def test_a_page_in_a_bucket_is_shown_with_all_that_it_leads_to(s3: str, tmp_path: Path) -> None:
    """Of a store that keeps what kind each file is: without, a browser saves the page to the disk."""
    write_scene(tmp_path / "m.parquet", Storage(f"{s3}/out put"), made=12, failed=1)
    look(f"{for_everybody(s3)}/out%20put")


def test_a_page_on_a_web_server_is_shown_with_all_that_it_leads_to(web: str, tmp_path: Path) -> None:
    """One that knows no ranges of bytes."""
    write_scene(tmp_path / "m.parquet", Storage(str(tmp_path / "out")), made=12, failed=1)
    look(f"{web}/out")
