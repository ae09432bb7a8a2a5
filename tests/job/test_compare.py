"""`cosmos-ray compare`: the same rows under several settings on one gang that stays loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.cluster import SharedHead
from support.job_runs import FAST, check_files, records, write_manifest

import cosmos_ray.job.compare as compare_module
from cosmos_ray.errors import UsageError
from cosmos_ray.job.compare import compare
from cosmos_ray.job.compared import read_settings
from cosmos_ray.output.status import read_status

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROWS = [
    {"id": "a", "prompt": "[seconds=0.1]", "n_views": 2},
    {"id": "b", "prompt": "[fail=model]", "n_views": 2},
    {"id": "c", "prompt": "p", "n_views": 2},
    {"id": "beyond", "prompt": "p", "n_views": 2},
]
SETTINGS = {"many": "sampling: {num_steps: 6}", "other": "resolution: 224x128", "few": "sampling: {preset: fast}"}


def test_one_gang_makes_all_settings_and_the_same_call_goes_on(
    one_node: SharedHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", ROWS)
    files = []
    for name, text in SETTINGS.items():
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(text)
    folder = tmp_path / "judged"
    common = {
        "manifest": manifest, "output": str(folder), "model": "fake", "device": "cpu", "gang_size": 1, "limit": 3,
        "max_failed": "1.0", **FAST,
    }  # fmt: skip
    settings = read_settings(common, files)
    carry_out, made = compare_module.carry_out, []

    def until_the_second(*given: Any) -> Any:
        if len(made) == 2:
            raise UsageError("the driver is gone")
        made.append(given[0].storage.uri)
        return carry_out(*given)

    said: list[str] = []
    monkeypatch.setattr(compare_module, "carry_out", until_the_second)
    with pytest.raises(UsageError, match="the driver is gone"):
        compare(settings, str(folder), said.append)
    # What needs another model comes last, and is the only one that is loaded again.
    assert [Path(uri).name for uri in made] == ["many", "few"]
    assert sum("loaded in" in line for line in said) == 1
    assert sum("it was kept, with its model loaded" in line for line in said) == 1
    assert any(line.startswith("loaded again for other: fake") for line in said)
    before = {name: records(folder / name) for name in ("many", "few")}

    monkeypatch.setattr(compare_module, "carry_out", carry_out)
    done = compare(settings, str(folder), said.append)
    assert {name: records(folder / name) for name in before} == before
    for name in SETTINGS:
        assert {key: record.status for key, record in records(folder / name).items()} == {
            "a": "ok", "b": "failed", "c": "ok",
        }  # fmt: skip
        check_files(folder / name)
        assert read_status(str(folder / name))[0].ok == 2
    assert [summary.ok for summary in done.summaries] == [2, 2, 2]
    assert done.exit_code == 0
    rows = pq.read_table(folder / "compare.parquet").to_pylist()
    assert [(row["id"], row["setting"]) for row in rows] == [(id, name) for id in "abc" for name in SETTINGS]
    few, other = (next(row for row in rows if (row["id"], row["setting"]) == ("a", name)) for name in ("few", "other"))
    assert few["psnr_db"] == 100.0  # the fake model's clips depend on their seeds alone
    assert other["not_compared"] == "of another size (224x128, not 112x64)"
    index = pq.read_table(folder / "few" / "index.parquet").to_pylist()[0]
    assert (index["num_steps"], index["approximations"]["solver"], index["preset"]) == (2, "unipc", "fast")
    assert (folder / "compare.html").is_file()
