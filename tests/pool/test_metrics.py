"""What a job's metrics owe to those who watch it.

* The real endpoint of a real Ray shows, while the job runs and after it, what the ledger says.
* An agent that does not answer neither breaks a job nor slows it.
* Dashboard, alerts and documentation name metrics and labels that exist.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import promql_parser
import pytest
import ray
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.cluster import shared_head
from support.heads import free_ports
from support.job_runs import SMALL, BackgroundJob, actor_pids, records, run_job, write_manifest
from support.paths import ROOT
from support.waiting import PATIENCE_S, holds_at_last, wait_for

import cosmos_ray.pool.metrics
import cosmos_ray.pool.watched
from cosmos_ray.clip.encode import encode_mp4
from cosmos_ray.ledger.record import Record, record_path
from cosmos_ray.pool.metrics import BUCKETS_S, HANDED_BACK, METRICS, PHASES, Metric, _seconds_between

DASHBOARD = json.loads((ROOT / "cluster" / "grafana.json").read_text())
ALERTS = yaml.safe_load((ROOT / "cluster" / "alerts.yaml").read_text())
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cosmos-ray-tests"
PROMTOOL = shutil.which("promtool", path=f"{CACHE}:{os.environ.get('PATH', '')}")

#: A series: the metric's name and its labels, without those that Ray adds.
Series = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The URL that Prometheus would scrape. Processes report every second, not every ten.

    Of a head of its own: Ray counts n - 1 times what a process counts that has connected to one cluster n times. It
    answers before this process connects: one that looks for Ray's agent in vain for seconds never exports anything.
    """
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/metrics"
    with shared_head(port) as head:
        wait_for(lambda: _answers(url), "Ray's agent to export metrics")
        with head.connected() as cluster:
            cluster.add_node(num_cpus=4)
            yield url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S):
            return True
    except OSError:
        return False


class Scrape:
    """What the endpoint shows of one output, summed over the processes that recorded it. An agent that has too much to
    do to answer shows nothing: AssertionError, as for whatever is not there yet."""

    def __init__(self, url: str, output: Path) -> None:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(f"{url} did not answer: {error}") from error
        self.types: dict[str, str] = {}
        self.processes: set[str] = set()
        self._values: Counter[Series] = Counter()
        known = {"le", *(metric.label for metric in METRICS)}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.name.startswith("ray_cosmos_ray_") or sample.labels["output"] != str(output):
                    continue
                self.types[sample.name] = family.type
                self.processes.add(sample.labels["WorkerId"])
                labels = frozenset((name, value) for name, value in sample.labels.items() if name in known)
                self._values[sample.name, labels] += sample.value

    def __call__(self, name: str, **labels: str) -> float:
        """NaN if the endpoint has no such series."""
        return self._values.get((f"ray_cosmos_ray_{name}", frozenset(labels.items())), float("nan"))

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values that are not 0, by a label."""
        found = {dict(labels)[label]: value for (one, labels), value in self._values.items() if one.endswith(name)}
        return {value: count for value, count in found.items() if count}

    def buckets(self, name: str, **labels: str) -> list[float]:
        """Counts of a histogram: of each bucket, then of what is above them all."""
        edges = [*map(str, BUCKETS_S), "+Inf"]
        return np.diff([self(f"{name}_bucket", le=edge, **labels) for edge in edges], prepend=0.0).tolist()  # type: ignore[no-any-return]


def _buckets(values: list[float]) -> list[float]:
    """How values fall into the metrics' buckets, each up to and with its edge."""
    return np.bincount(np.searchsorted(BUCKETS_S, values), minlength=len(BUCKETS_S) + 1).tolist()  # type: ignore[no-any-return]


@pytest.mark.ray
def test_the_endpoint_agrees_with_the_ledger(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with much that can be counted: two modes, an input, faulty rows, a rank that dies while a clip hangs."""
    monkeypatch.setattr(cosmos_ray.pool.watched, "_PING_S", 0.2)
    monkeypatch.setattr(cosmos_ray.pool.metrics, "_SAMPLE_S", 0.2)
    (tmp_path / "drive.mp4").write_bytes(encode_mp4(np.full((14, 64, 112, 3), 90, np.uint8), 10))
    rows: list[dict[str, Any]] = [
        {**SMALL, "id": "column", "prompt": ["a road"], "num_conditional_frames": 5},
        {**SMALL, "id": "long", "prompt": ["a road [hang attempt=1]"]},
        {**SMALL, "id": "other", "prompt": ["a road"]},
        {**SMALL, "id": "image", "prompt": ["a road [seconds=0.3]"], "input_video": "drive.mp4"},
        {**SMALL, "id": "file", "prompt": ["a road"], "input_video": "not-there.mp4"},
        {**SMALL, "id": "nan", "prompt": ["a road [nan]"]},
    ]
    output = tmp_path / "out"
    manifest = write_manifest(tmp_path / "m.parquet", rows)
    job = BackgroundJob(manifest, output, gang={"clips_in_flight": 2})

    def tells_of_the_clip_that_hangs() -> Scrape:
        busy = Scrape(endpoint, output)
        assert busy("clips_open", stage="denoising") == 1
        assert busy("clips_open", stage="waiting") + busy("clips_open", stage="prepared") >= 1
        assert busy("clips_wanted") == 6
        assert busy("clips_settled") in (1, 2), (
            "`other` is made before the gang hangs, or waits behind the one that hangs"
        )
        assert busy("gangs", state="up") == busy("gangs", state="placed") == busy("gangs", state="wanted") == 1
        assert busy("paused") == busy("nodes_avoided") == 0
        return busy

    # Levels are looked at while nothing moves: Ray shows them for ten seconds more only. It keeps what was counted.
    busy = holds_at_last(tells_of_the_clip_that_hangs)
    os.kill(actor_pids("Rank")[0], signal.SIGKILL)
    summary = job.result()
    assert (summary.ok, summary.failed) == (3, 3), job.said
    # A scrape may meet a report that is taken in by half.
    holds_at_last(lambda: _agrees(busy, Scrape(endpoint, output), records(output), job.said))


def _agrees(busy: Scrape, end: Scrape, found: dict[str, Record], said: list[str]) -> None:
    """What the endpoint has counted after the job, against its records and what it said."""
    ok = [record for record in found.values() if record.status == "ok"]
    failed = Counter(record.failure_class for record in found.values() if record.status == "failed")
    assert failed == {"input": 2, "model": 1}
    assert end.by("clips_failed_total", "failure_class") == failed
    assert end.by("clips_done_total", "mode") == {"text2world": 2, "image2world": 1}

    attempts = end.by("attempts_total", "outcome")
    assert attempts["ok"] == len(ok)
    assert sum(attempts.values()) - attempts.get(HANDED_BACK, 0) == sum(record.attempt for record in found.values())
    broke = Counter(re.findall(r"gang-\d+ broke: (\w+):", "\n".join(said)))
    assert end.by("gang_deaths_total", "failure_class") == broke
    assert broke["gang"] == 1
    starts = sum("is up: " in line for line in said)
    assert end.by("gang_starts_total", "outcome") == {"up": starts}
    assert end("gang_start_seconds_count") == starts

    for phase in PHASES:
        spent = [record.seconds[phase] for record in ok]
        assert end.buckets("clip_phase_seconds", phase=phase) == _buckets(spent), phase
    for mode, ids in (("text2world", ["long", "other"]), ("image2world", ["image"])):
        assert end.buckets("clip_seconds", mode=mode) == _buckets([_whole(found[one]) for one in ids])
    assert end("gpu_denoise_seconds_total") == pytest.approx(2 * sum(record.seconds["denoise"] for record in ok))
    assert end("gpu_idle_seconds_total") == pytest.approx(2 * sum(record.seconds["idle"] for record in ok))
    assert end("gpu_held_seconds_total") > end("gpu_denoise_seconds_total") + end("gpu_idle_seconds_total")

    assert len(end.processes) == 1, "series that multiply with every gang that is replaced"
    kinds = {name: kind for metric in METRICS for name, kind in _exported(metric).items()}
    assert busy.types | end.types == kinds, "what is declared and what is exported differ"


@pytest.mark.ray
def test_what_leaders_and_ranks_exchange_with_stores_is_exported(endpoint: str, tmp_path: Path) -> None:
    """Bytes of the whole attempt, and requests made again: until its clip has waited nothing can be stored."""
    (tmp_path / "drive.mp4").write_bytes(encode_mp4(np.full((14, 64, 112, 3), 90, np.uint8), 10))
    rows = [{**SMALL, "id": "a", "prompt": "a road", "input_video": "drive.mp4"}]
    manifest, output = write_manifest(tmp_path / "m.parquet", rows), tmp_path / "out"
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())

    def has_waited() -> bool:
        return any("a waits on this node's disk" in path.read_text() for path in logs.glob("worker-*.err"))

    (output / "clips").mkdir(parents=True)
    (output / "clips" / "a").symlink_to("a")  # a loop: a fault that may pass, unlike a folder that must not be written
    job = BackgroundJob(manifest, output)
    wait_for(has_waited, "a video that cannot be stored")
    (output / "clips" / "a").unlink()
    assert job.result().ok == 1
    record = records(output)["a"]
    assert record.sidecar is not None
    files = [*(entry.path for entry in (*record.files, record.sidecar)), record_path("a", 0)]
    once = sum((output / path).stat().st_size for path in files)
    previews = sum(entry.size for entry in record.previews)

    def agrees() -> None:
        end = Scrape(endpoint, output)
        assert end.by("attempts_total", "outcome") == {"ok": 1}
        assert end.by("store_retries_total", "by")["gang"] >= 3
        again, rest = divmod(end("written_bytes_total", by="gang") - once, previews)
        assert (again >= 1, rest) == (True, 0), "small as they are, previews are stored anew with each try of the clip"
        assert end("read_bytes_total", by="gang") >= (tmp_path / "drive.mp4").stat().st_size
        assert end("written_bytes_total", by="driver") > 0
        assert len(end.processes) == 1

    holds_at_last(agrees)


def _whole(record: Record) -> float:
    return _seconds_between(record.started, record.finished)


def _exported(metric: Metric) -> dict[str, str]:
    """Names of the series that a metric is exported as, each with Prometheus' type of it."""
    endings = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
    return {f"{metric.exported}{ending}": metric.kind for ending in endings}


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.usefixtures("endpoint")
def test_an_agent_that_does_not_answer_is_harmless(tmp_path: Path) -> None:
    """Stopped for as long as the job runs: the job ends well all the same. (What it counted in more than ten seconds of
    that is lost: Ray reports differences, and gives each report so long.)"""
    agents = [pid for pid in _children_of_this_process() if _command(pid).startswith("ray::DashboardAgent")]
    assert len(agents) >= 2, "the head's, which the driver reports to, and the node's"
    manifest = write_manifest(tmp_path / "m.parquet", [{"id": f"r{n}", "prompt": "a road"} for n in range(4)])
    for agent in agents:
        os.kill(agent, signal.SIGSTOP)
    try:
        summary, _ = run_job(manifest, tmp_path / "out")
    finally:
        for agent in agents:
            os.kill(agent, signal.SIGCONT)
    assert (summary.ok, summary.failed) == (4, 0)


def _children_of_this_process() -> list[int]:
    """Children, and theirs, of this process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = [os.getpid()]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _expressions() -> list[Any]:
    """Every PromQL expression of the dashboard (its variables filled in) and of the alerts."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$output", ".*").replace("$window", "15m")
            found.append(pytest.param(expression, id=f"{panel['title']}-{target['refId']}"))
    for group in ALERTS["groups"]:
        found.extend(pytest.param(rule["expr"], id=rule["alert"]) for rule in group["rules"])
    return found


@pytest.mark.parametrize("expression", _expressions())
def test_an_expression_parses_and_names_what_is_exported(expression: str) -> None:
    declared = {name: metric for metric in METRICS for name in _exported(metric)}
    selectors: list[Any] = []
    grouped: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            selectors.append(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            selectors.append(node)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    assert selectors
    labels = {"output"}
    for selector in selectors:
        metric = declared[selector.name]
        labels |= {metric.label, "le"} if metric.kind == "histogram" else {metric.label}
        for matcher in selector.matchers.matchers:
            assert matcher.name in ("output", metric.label)
            assert matcher.name == "output" or matcher.value in metric.values
    assert grouped <= labels, f"{expression} groups by labels that are not there"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: tests/tools/promtool install")
def test_alerts_fire_when_they_should() -> None:
    command = [str(PROMTOOL), "test", "rules", str(ROOT / "cluster" / "alerts_test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_on_the_dashboard_and_in_the_documentation() -> None:
    shown = json.dumps(DASHBOARD)
    documented = (ROOT / "docs" / "observability.md").read_text()
    for metric in METRICS:
        assert re.search(rf"{metric.exported}(_bucket)?\W", shown), f"{metric.exported} is on no panel"
        assert f"`{metric.name}`" in documented, f"{metric.name} is not documented"
    assert {f"`{rule['alert']}`" for group in ALERTS["groups"] for rule in group["rules"]} <= set(
        re.findall(r"`CosmosRay\w+`", documented)
    )


def test_the_dashboard_asks_for_its_data_source_when_it_is_imported() -> None:
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "targets" in panel} == {"${datasource}"}
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "output", "window"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
