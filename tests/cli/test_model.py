"""`model check`: what it finds of models that are here, unknown or not fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.command_line import assert_one_line


@pytest.mark.parametrize("model", ["tiny", "fake"])
def test_a_model_that_needs_no_download_is_fine(cosmos_ray: Any, model: str) -> None:
    answer = cosmos_ray("model", "check", model)
    assert answer.code == 0
    assert answer.out.startswith(f"{model}: 7 views x 29 frames, ")


def test_a_model_that_is_not_known(cosmos_ray: Any) -> None:
    assert_one_line(cosmos_ray("model", "check", "no-such-model"), 2, "no-such-model")


def test_a_model_whose_files_are_not_there(cosmos_ray: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    answer = cosmos_ray("model", "check", "cosmos-predict2-2b-multiview")
    assert answer.code == 2
    assert "not available offline" in answer.out
