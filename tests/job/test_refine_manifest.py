"""`cosmos-ray manifest refine`: another manifest with better prompts, whatever kills it or answers nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.chat_server import MODEL, Answer, ChatServer, chat_server, refines, refused, said
from support.job_runs import write_manifest
from support.waiting import wait_for

from cosmos_ray.cli.main import app, run
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.config import GenerateConfig
from cosmos_ray.errors import CosmosRayError, UsageError
from cosmos_ray.job.refine import Refined, refine_manifest
from cosmos_ray.refine.endpoint import KEY
from cosmos_ray.store.storage import Storage


def refine(server: ChatServer, manifest: str, out: Path | str, **rules: Any) -> Refined:
    told = {"backend": "endpoint", "url": server.url, "model": MODEL, "attempts": 2, "patience_s": 20.0, **rules}
    config = GenerateConfig(manifest=manifest, output="none", model="fake", refiner=told)
    return refine_manifest(config, str(out), lambda _: None)


def read(path: Path | str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def many(path: Path, count: int) -> str:
    return write_manifest(path, [{"id": f"r{n}", "prompt": f"bus {n}", "weather": "rain"} for n in range(count)])


def counts(found: Refined) -> tuple[int, int, int, int]:
    return found.asked, found.kept, found.own, found.without


def test_every_prompt_is_refined_and_what_the_row_said_stays(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "a bus", "seed": 4, "weather": "rain"},
        {"id": "b", "prompt": "unspeakable"},
        {"id": "c", "prompt": "a car", "guidance": -4.0},
        {"id": "d", "prompt": None, "prompt_embedding": "d.pt"},
    ]
    manifest = write_manifest(tmp_path / "m.parquet", rows)

    def answer(body: dict[str, Any]) -> Answer:
        return said("") if "unspeakable" in str(body["messages"][-1]) else refines(body)

    with chat_server(answer) as server:
        found = refine(server, manifest, tmp_path / "m2.parquet")
    assert counts(found) == (1, 0, 1, 2)
    new = read(tmp_path / "m2.parquet")
    assert [row["prompt"] for row in new] == ["a bus Seen in fine detail.", "unspeakable", "a car", None]
    assert [row["original_prompt"] for row in new] == [row["prompt"] for row in rows]
    before = read(manifest)
    assert [{name: row[name] for name in before[0] if name != "prompt"} for row in new] == [
        {name: value for name, value in row.items() if name != "prompt"} for row in before
    ]
    (kind,) = found.faults.found()
    assert kind.examples == (("b", "the model's answer cannot be used: found nothing, expected a caption"),)


def test_rows_of_every_batch_are_in_the_new_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer of its own for each batch would leave the last one's rows alone."""
    monkeypatch.setattr("cosmos_ray.job.refine._ROWS_A_BATCH", 2)
    with chat_server(refines) as server:
        found = refine(server, many(tmp_path / "m.parquet", 5), tmp_path / "m2.parquet")
    assert counts(found) == (5, 0, 0, 0)
    assert [row["id"] for row in read(tmp_path / "m2.parquet")] == [f"r{n}" for n in range(5)]


def test_the_frames_that_a_clip_begins_with_are_seen(tmp_path: Path) -> None:
    (tmp_path / "in.mp4").write_bytes(encode_mp4(np.full((12, 64, 112, 3), 99, np.uint8), 10))
    row = {"id": "a", "prompt": "a bus", "input_video": "in.mp4", "n_views": 1, "num_conditional_frames": 5}
    bad = {**row, "id": "b", "input_video": "gone.mp4"}
    manifest = write_manifest(tmp_path / "m.parquet", [row, bad])
    with chat_server() as server:
        found = refine(server, manifest, tmp_path / "m2.parquet", frames=2)
        assert counts(found) == (1, 0, 0, 1), "a row whose clip will fail for its input is left to say so"
        assert refine(server, manifest, tmp_path / "m2.parquet", frames=0).asked == 2
    pictures = [len(body["messages"][-1]["content"]) - 1 for body in server.asked[:1]]
    assert pictures == [2]
    assert [row["input_video"] for row in read(tmp_path / "m2.parquet")] == ["in.mp4", "gone.mp4"]


def test_one_caption_becomes_one_a_camera(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": "a", "prompt": "a bus", "n_views": 2}])
    with chat_server() as server:
        refine(server, manifest, tmp_path / "m2.parquet", captions="each", view_template="{camera}: {prompt}")
    (row,) = read(tmp_path / "m2.parquet")
    assert row["prompt"] == [f"{name}: a bus Seen in fine detail." for name in ("front wide", "cross right")]
    assert row["original_prompt"] == "a bus"


def test_what_was_found_before_it_was_stopped_is_not_asked_for_again(tmp_path: Path) -> None:
    """Killed: `long`, below. Here its server dies in the middle."""
    manifest, out = many(tmp_path / "m.parquet", 60), tmp_path / "m2.parquet"
    with chat_server() as server:
        server.answer = lambda body: refused(401) if len(server.asked) > 30 else refines(body)
        with pytest.raises(CosmosRayError, match=r"30 rows could not be refined .*nothing was written"):
            refine(server, manifest, out, on_failure="fail", parallel=4)
        assert not out.exists()
        server.answer = refines
        found = refine(server, manifest, out, on_failure="fail", parallel=4)
        assert counts(found) == (30, 30, 0, 0)
        assert len(server.asked) == 90
        again = refine(server, manifest, out, on_failure="fail")
        assert (counts(again), len(server.asked)) == ((0, 60, 0, 0), 90)
    assert [row["prompt"] for row in read(out)] == [f"bus {n} Seen in fine detail." for n in range(60)]


@pytest.mark.long
def test_a_thousand_prompts_survive_a_kill_in_the_middle(tmp_path: Path) -> None:
    """Seconds, not minutes; and nobody is told the key, though the server repeats it."""
    manifest, out, secret = many(tmp_path / "m.parquet", 1000), tmp_path / "m2.parquet", "sk-very-secret-7f3a"
    with chat_server() as server:
        command = [
            sys.executable, "-m", "cosmos_ray", "manifest", "refine", "--in", manifest, "--out", str(out),
            "--endpoint", server.url, "--model", "fake", "--set", "refiner.attempts=1",
        ]  # fmt: skip
        first = subprocess.Popen(command, env={**os.environ, KEY: secret})
        wait_for(lambda: len(server.asked) > 400, "it to be in the middle")
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert not out.exists()
        asked = len(server.asked)
        assert asked < 1000
        server.answer = lambda body: refused(400, secret) if "bus 999" in str(body) else refines(body)
        second = subprocess.run(command, env={**os.environ, KEY: secret}, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    assert 1000 <= len(server.asked) <= 1008, "what was in flight is asked for again, and no more"
    rows = read(out)
    assert [row["prompt"] for row in rows[:-1]] == [f"bus {n} Seen in fine detail." for n in range(999)]
    assert rows[-1]["prompt"] == "bus 999"
    assert second.stderr.count("answered 400") == 1, "a line a kind, not one a row"
    assert "1 row, such as r999" in second.stderr
    assert server.keys[0] == f"Bearer {secret}"
    everything = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [one for one in [*everything, (second.stdout + second.stderr).encode()] if secret.encode() in one]


def test_words_are_kept_beside_the_new_manifest_in_a_store_too(s3: str, tmp_path: Path) -> None:
    store = Storage(f"{s3}/refined")
    store.write("m.parquet", Path(many(tmp_path / "m.parquet", 3)).read_bytes())
    with chat_server() as server:
        refine(server, store.uri_of("m.parquet"), store.uri_of("m2.parquet"))
        assert refine(server, store.uri_of("m.parquet"), store.uri_of("m2.parquet")).kept == 3
    assert len(list(store.list("_refined/m2.parquet"))) == 3
    assert store.exists("m2.parquet")


@pytest.mark.parametrize(
    ("rows", "rules", "why"),
    [
        ([{"id": "a", "prompt": "p"}], {"backend": "none"}, "refiner.backend: found none"),
        ([{"id": "a", "prompt": "p", "original_prompt": "q"}], {}, "was refined already"),
        ([{"id": "a", "prompt_embedding": "e.pt"}], {}, "no column `prompt`"),
    ],
)
def test_what_cannot_be_refined_is_said_before_anything_is_asked(
    tmp_path: Path, rows: list[dict[str, Any]], rules: dict[str, Any], why: str
) -> None:
    with chat_server() as server, pytest.raises(UsageError, match=why):
        refine(server, write_manifest(tmp_path / "m.parquet", rows), tmp_path / "m2.parquet", **rules)
    assert server.asked == []


def test_a_manifest_is_not_written_over(tmp_path: Path) -> None:
    with chat_server() as server, pytest.raises(UsageError, match="which is read, expected another place"):
        refine(server, many(tmp_path / "m.parquet", 1), tmp_path / "m.parquet")


def test_the_command_says_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "n.parquet")
    arguments = ["cosmos-ray", "manifest", "refine", "--in", many(tmp_path / "m.parquet", 2), "--out", out]
    with chat_server() as server:
        monkeypatch.setattr("sys.argv", [*arguments, "--endpoint", server.url, "--model", "fake"])
        assert run(app) == 0
    monkeypatch.setattr("sys.argv", [*arguments, "--model", "fake"])
    assert run(app) == 2
    told = capsys.readouterr()
    assert told.out == f"{out}: 2 rows: 2 refined now, 0 before, 0 as before\n"
    assert "refiner.backend: found none" in told.err


@pytest.mark.parametrize("frames", [0, 1])
def test_all_that_a_row_names_is_named_from_where_the_new_manifest_is(tmp_path: Path, frames: int) -> None:
    """Whichever column it is in, and whether the refiner looks at it or not."""
    row: dict[str, Any] = {
        "id": "a", "prompt": "a bus", "n_views": 2, "input_video": "v.mp4", "input_videos": ["v.mp4", "sub/w.mp4"],
        "input_frames": {"front_wide": ["a.png", "b.png"], "rear": ["c.png", "d.png"]},
        "control_videos": ["e.mp4", "../f.mp4"], "prompt_embedding": "e.npy", "notes": "sub/w.mp4",
    }  # fmt: skip
    (tmp_path / "rows").mkdir()
    manifest = write_manifest(tmp_path / "rows/m.parquet", [row])
    with chat_server() as server:
        refine(server, manifest, tmp_path / "m2.parquet", frames=frames)
    (found,) = read(tmp_path / "m2.parquet")
    assert {name: value for name, value in found.items() if name != "original_prompt"} == row | {
        "prompt": found["prompt"],
        "input_video": "rows/v.mp4", "input_videos": ["rows/v.mp4", "rows/sub/w.mp4"],
        "input_frames": {
            "front_wide": ["rows/a.png", "rows/b.png"], "rear": ["rows/c.png", "rows/d.png"],
        },
        "control_videos": ["rows/e.mp4", "f.mp4"], "prompt_embedding": "rows/e.npy",
    }  # fmt: skip
