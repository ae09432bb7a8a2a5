"""What commands answer, word for word: of a whole output, of a manifest with something of everything, of mistakes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from support.job_runs import write_manifest
from support.paths import ROOT
from support.surfaces import assert_as_it_was, masked
from support.whole_output import write_whole_output

from cosmos_ray.ledger.lease import acquire
from cosmos_ray.store.storage import Storage

Transcript = Callable[..., None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_whole_output(folder)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its own copy of a whole output, `out`, in the folder in which commands are called."""
    shutil.copytree(made, tmp_path / "job")
    run = tmp_path / "job" / "out" / "_cosmos_ray" / "run.json"
    run.write_text(run.read_text().replace(str(made), str(tmp_path / "job")))
    monkeypatch.chdir(tmp_path / "job")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "job"


@pytest.fixture
def transcript(cosmos_ray: Any, here: Path) -> Transcript:
    def check(name: str, commands: Iterable[str]) -> None:
        lines = []
        for command in commands:
            answer = cosmos_ray(*shlex.split(command))
            lines.append(f"$ cosmos-ray {command}")
            lines += answer.out.splitlines()
            lines += [f"! {line}" for line in answer.err.splitlines()]
            lines.append(f"-> {answer.code}")
        text = masked("\n".join(lines), here, ROOT)
        text = re.sub(r"\b[0-9a-f]{64}\b", "(sha256)", text)
        text = re.sub(rf"[\w.-]+-{os.getpid()}-[0-9a-f]{{12}}", "(owner)", text)
        text = re.sub(r"last heard of \d+ s ago", "last heard of (some) s ago", text)
        assert_as_it_was(f"cli/{name}.txt", re.sub(r'"age_s": [\d.]+', '"age_s": (some)', text))

    return check


def test_status(transcript: Transcript, here: Path) -> None:
    (here / "out" / "clips" / "a" / "9").mkdir()
    (here / "out" / "clips" / "a" / "9" / "rear.mp4").write_bytes(b"left by an attempt that was cut off")
    transcript(
        "status",
        ["status out", "status out", "status out --json", "status out --failed", "status out --failed --json",
         "status out --records", "status out --watch", "status out --clean", "status out --clean",
         "status out --clean --failed", "status out --watch --json", "status nothing"],
    )  # fmt: skip


def test_status_of_a_job_that_is_at_work(transcript: Transcript, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look finds that it has ended."""
    lease = acquire(Storage("out"), say=lambda words: None)
    lease.describe = lambda: {
        "gangs": {"gang-0002": "m" * 40, "gang-0001": "n" * 40}, "eta_s": 4000.0, "clips_per_hour": 7.25,
        "at": {"gang-0001": {"clip": "left", "step": 3, "steps": 35, "left_s": 65.0},
               "gang-0002": {"clip": "open", "step": 1, "steps": 9, "left_s": None}},
        "avoided_nodes": ["o" * 40], "draining_nodes": ["m" * 40, "p" * 40], "pause": "the store is out",
    }  # fmt: skip
    lease._beat()
    ours, sleep = threading.current_thread(), time.sleep

    def slept(seconds: float) -> None:  # a thread that another test left sleeping ends no job
        lease.release() if threading.current_thread() is ours else sleep(seconds)

    monkeypatch.setattr(time, "sleep", slept)
    transcript("status_at_work", ["status out", "status out --json", "status out --clean", "status out --watch"])


def test_retry(transcript: Transcript, here: Path) -> None:
    next((here / "out" / "clips" / "c" / "3").glob("*.mp4")).write_bytes(b"rot")
    (here / "out" / "clips" / "b.s001" / "1" / "clip.json").unlink()
    transcript(
        "retry",
        ["retry out --class none", "retry out --class oom --id a", "retry out --id a --damaged",
         "retry out --id nobody",
         "retry out --id left", "retry out --class oom --class model", "retry out --class model",
         "retry out --id b.s000 --id a --id a", "retry out --damaged", "retry out", "retry out", "retry nothing",
         "status out --failed"],
    )  # fmt: skip


def test_report(transcript: Transcript, here: Path) -> None:
    shutil.copytree(here / "out", here / "second")
    transcript(
        "report",
        ["report out", "report out --where 'seed < 4' --grid weather seed --price 2", "report out --where ' '",
         "report out --grid weather nothing", "report out second --price 1", "report out second --manifest m.parquet",
         "report out out", "report nothing", "report out --manifest nothing.parquet"],
    )  # fmt: skip


def test_export(transcript: Transcript, here: Path) -> None:
    """Of an output without an index, then of one with it, then of one whose files are damaged."""
    transcript(
        "export",
        ["export out --format webdataset --to w --clips-a-shard 2", "report out",
         "export out --format webdataset --to w --clips-a-shard 2", "export out --format webdataset --to w --verify",
         "export out --format rds-hq --to r --where 'seed < 4'", "export out --format rds-hq --to r --verify",
         "export out --format rds-hq --to r", "export out --format lerobot --to l",
         "export out --format lerobot --to l --where 'n_views = 2'", "export out --format lerobot --to l --verify",
         "export out --format rds-hq --to out/in", "export nothing --format rds-hq --to t",
         "export out --format rds-hq --to t --where 'seed > 99999999999'"],
    )  # fmt: skip


ASKED: list[dict[str, Any]] = [
    {"id": "a", "prompt": "a street", "weather": "rain"},
    {"id": "b", "prompt": "a bridge", "num_samples": 3, "n_views": 2, "num_steps": 10},
    {"id": "c", "prompt": None},
    {"id": "d", "prompt": "rain", "seed": -1, "num_samples": 2},
    {"id": "e", "prompt": "snow", "guidance": 0.0},
    {"id": "f", "prompt": "sun", "guidance": 0.0, "negative_prompt": ""},
    {"id": "g", "prompt": "long", "num_chunks": 3, "input_video": "g.mp4"},
    {"id": "h", "prompt": "there", "input_video": "h.mp4", "num_conditional_frames": 5, "n_views": 1},
    {"id": "i", "prompt": "unused", "input_video": "h.mp4", "num_conditional_frames": 0},
]
MODELS = (
    "cosmos-predict2-2b-multiview", "cosmos-predict2.5-2b-multiview", "cosmos-transfer2.5-2b-multiview",
    "cosmos-predict2-14b-video2world", "cosmos-predict2-0.6b-text2image", "cosmos-predict2-2b-text2world",
    "tiny", "fake",
)  # fmt: skip


def test_plan(transcript: Transcript, here: Path) -> None:
    write_manifest(here / "p.parquet", ASKED)
    shutil.copy(Path(__file__).parents[1] / "clip" / "data" / "plain.mp4", here / "h.mp4")
    plan = "plan --manifest p.parquet"
    transcript(
        "plan",
        [*(f"{plan} --model {model}" for model in MODELS),
         f"{plan} --gpu h200 --gangs 1:4 --price 2.5", f"{plan} --gang-size 2 --gangs 3",
         f"{plan} --set sampling.preset=fast", f"{plan} --set sampling.solver=unipc --set sampling.schedule=karras9",
         f"{plan} --set sampling.guidance_interval=[0.2,0.6] --set gang.spare_ranks=never",
         f"{plan} --set guardrails.enabled=true --set refiner.backend=endpoint --set refiner.url=http://h/v1",
         f"{plan} --set refiner.backend=local --set refiner.captions=each",
         f"{plan} --model fake --inputs", f"{plan} --model fake --inputs 1", f"{plan} --model fake --inputs all",
         f"{plan} --list --json", f"{plan} --gang-size 3",
         "plan --manifest m.parquet --model fake --output out", "plan --manifest nothing.parquet"],
    )  # fmt: skip


def test_plan_for_programs(cosmos_ray: Any, here: Path) -> None:
    write_manifest(here / "p.parquet", ASKED)
    shutil.copy(Path(__file__).parents[1] / "clip" / "data" / "plain.mp4", here / "h.mp4")
    lines = []
    for words in ("--json --inputs 1 --price 3", "--list", "--json --set refiner.backend=local"):
        answer = cosmos_ray("plan", "--manifest", "p.parquet", *words.split())
        for line in answer.out.splitlines():
            facts = json.loads(line)
            lines += [f"{name} = {json.dumps(value)}" for name, value in facts.items()]
    assert_as_it_was("cli/plan_json.txt", masked("\n".join(lines), here))


def test_inspect(transcript: Transcript, here: Path) -> None:
    for name in ("plain", "two_tracks", "sar43", "mkv", "fps30", "interlaced"):
        shutil.copy(Path(__file__).parents[1] / "clip" / "data" / f"{name}.mp4", here / f"{name}.mp4")
    (here / "text.mp4").write_text("no video")
    files = "plain.mp4 two_tracks.mp4 sar43.mp4 mkv.mp4 fps30.mp4 interlaced.mp4 text.mp4 none.mp4"
    transcript(
        "inspect",
        [f"inspect {files} --model tiny", f"inspect {files} --model tiny --json", "inspect plain.mp4 --n-views 9",
         "inspect plain.mp4 --num-conditional-frames 3", "inspect plain.mp4 --num-conditional-frames 0",
         "inspect plain.mp4 --fps 121", "inspect plain.mp4 --fps 0", "inspect plain.mp4 a/plain.mp4 --to frames",
         "inspect plain.mp4 --to plain.mp4/x", "inspect fps30.mp4 --model tiny --fps 5 --num-conditional-frames 5",
         "inspect fps30.mp4 --model tiny --set inputs.fit=pad --set inputs.rate=as_is",
         "inspect fps30.mp4 --model tiny --set inputs.strict=true"],
    )  # fmt: skip


def test_mistakes(transcript: Transcript) -> None:
    transcript(
        "mistakes",
        ["generate", "generate --manifest m", "generate --manifest none.parquet --output o --model fake",
         "generate --manifest m.parquet --output o --model nobody",
         "generate --manifest m.parquet --output o --set x=1",
         "generate --manifest m.parquet --output o --limit 0", "compare --manifest m.parquet --output o",
         "compare --manifest m.parquet --output o --settings a.yaml", "model check nobody",
         "model derive --from fake --to t",
         "manifest vary --in m.parquet --out n.parquet", "manifest vary --in m.parquet --out n.parquet --seeds 0:2",
         "manifest vary --in m.parquet --out n2.parquet --set weather=a,b --template '{prompt} {weather}'",
         "manifest from-table m.parquet --out n3.parquet", "manifest from-table none.csv --out n.parquet",
         "manifest from-nuscenes x --out n.parquet --prompt p --caption-from scene",
         "manifest from-folder none --out n.parquet", "manifest refine --in m.parquet --out n.parquet",
         "reproduce out nobody", "reproduce out f0", "reproduce nothing a"],
    )  # fmt: skip


def test_models(transcript: Transcript) -> None:
    """Those whose files come with the package."""
    transcript(
        "models_checked",
        ["model check fake", "model check tiny", "model check tiny25", "model fetch fake", "model fetch fake --to copy",
         "model check copy", "model derive --from fake --to t --dit none.pt",
         "model derive --from tiny --to t --lora none.pt"],
    )  # fmt: skip
