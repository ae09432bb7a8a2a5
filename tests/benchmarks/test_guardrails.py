"""The benchmark of guardrails, as it runs on a machine without a GPU."""

from __future__ import annotations

import pytest
from guardrails import main


def test_it_times_each_check_and_names_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    found = main(["--tiny"])
    assert found.keys() == {"content_filter", "face_blur", "llama_guard", "total"}
    assert found["total"] == pytest.approx(2 * (found["content_filter"] + found["face_blur"]) + found["llama_guard"])
    assert "2 % of a clip of 236 s are 4.72 s" in capsys.readouterr().out
