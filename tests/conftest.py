"""Fixtures that several test modules share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from ray.cluster_utils import Cluster
from support import emulators
from support import s3 as s3_server
from support.clients import forget_clients
from support.cluster import SharedHead, shared_head
from support.command_line import Answer
from support.job_runs import write_manifest
from support.outcomes import ROWS

from cosmos_ray.store.storage import Storage

# Libraries and tests are a million objects that stay. Python does not look for garbage among them, neither while they
# come nor whenever it looks through what a test has left.
gc.disable()

# Rules are tried on the same examples each time, so that who changes something else is not met by a new one; on fresh
# ones by `make chaos`.
settings.register_profile("repeatable", deadline=None, database=None, derandomize=True)
settings.register_profile("fresh", deadline=None, database=None)
settings.load_profile("repeatable")
# What one process has compiled, the next hundred need not. Containers often say otherwise.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# As from a terminal, though `nohup` or a service started them: what it ignores, all processes that tests start ignore.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# The same tests on a machine with GPUs: none uses one (`gpu_parity.py` is what runs there). Triton's kernels are run by
# its interpreter, which must be said before anything imports Triton.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("TRITON_INTERPRET", "1")
# Each test process is one of several on a small machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
# Every Ray that a test starts does without statistics and workers that nobody has asked for yet, and keeps those that
# have imported what the next job needs.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
os.environ.setdefault("RAY_enable_worker_prestart", "0")
os.environ.setdefault("RAY_num_workers_soft_limit", "4")
os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "600000")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray turns tokens on for the whole process that starts a Ray of its own: nodes that are added later to a head without
# them would not be heard. Tests of tokens say so themselves.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
# Ray gives way to everybody else on the machine: its workers run at niceness 15, where a thirtieth of a busy core is
# theirs. A test waits for them as for itself.
os.environ.setdefault("RAY_worker_niceness", "0")
# What a head and a node take for themselves, all the time that they are there.
os.environ.setdefault("REPORTER_UPDATE_INTERVAL_MS", "60000")
# A node that is gone refuses at once; one that only does not answer yet has a busy machine.
os.environ.setdefault("RAY_health_check_timeout_ms", "120000")
# What tests convert and fetch stays out of the cache that the user's own models lie in. Processes that this one starts
# share it.
_CACHE = None if "COSMOS_RAY_CACHE" in os.environ else tempfile.mkdtemp(prefix="cosmos-ray-tests-")
os.environ.setdefault("COSMOS_RAY_CACHE", _CACHE or "")


#: Files that start a Ray; the head that this process has now, if it has one; and what ends it.
_OF_RAY: set[Path] = set()
_HEAD: list[SharedHead] = []
_END_HEAD = ExitStack()


def pytest_sessionfinish() -> None:
    _END_HEAD.close()
    if _CACHE:
        shutil.rmtree(_CACHE, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that wait for clusters come first, then slow ones: no process is left with a long one at the end."""
    items.sort(key=lambda item: (item.get_closest_marker("ray") is None, item.get_closest_marker("slow") is None))
    _OF_RAY.update(item.path for item in items if item.get_closest_marker("ray"))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After its last file that needs one, this process has no head."""
    if nextitem is not None and nextitem.path not in _OF_RAY:
        _END_HEAD.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The ids of tests that use `s3` or `storage` say which S3 server they run against."""
    backends = [fixture for fixture in ("s3", "storage") if fixture in metafunc.fixturenames]
    if not backends:
        return
    only_listing = metafunc.config.getoption("collectonly")
    server = s3_server.expected_kind() if only_listing else s3_server.server().kind
    for fixture in backends:
        ids = (
            ["local", f"s3-{server}", "azure", "gcs"]
            if fixture == "storage" and len(backends) == 1
            else [f"s3-{server}"]
        )
        metafunc.parametrize(fixture, ids, indirect=True)


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """URI of a bucket on the session's S3 server; this process and its children can reach it while this is in use."""
    yield from _bucket_of(s3_server.server())


@pytest.fixture(scope="session")
def azure_bucket() -> Iterator[str]:
    """As `s3_bucket`, on Azurite."""
    yield from _bucket_of(_emulator(emulators.azurite))


@pytest.fixture(scope="session")
def gcs_bucket() -> Iterator[str]:
    """As `s3_bucket`, on fake-gcs-server."""
    yield from _bucket_of(_emulator(emulators.fake_gcs))


def _emulator(start: Callable[[], emulators.Emulator]) -> emulators.Emulator:
    try:
        return start()
    except emulators.EmulatorMissingError as error:
        pytest.skip(str(error))


def _bucket_of(server: s3_server.S3Server | emulators.Emulator) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        forget_clients("s3", "az", "gs")  # a test before may have looked for credentials in vain
        yield server.make_bucket()


@pytest.fixture
def s3(s3_bucket: str) -> str:
    """URI of an empty folder on a real S3 server."""
    return f"{s3_bucket}/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty folder: of the local disk, then of a server of each kind of object store."""
    if request.param == "local":
        return Storage(str(tmp_path / "out"))
    bucket = request.getfixturevalue(f"{request.param.partition('-')[0]}_bucket")
    return Storage(f"{bucket}/{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def ray_head() -> SharedHead:
    """Of all files of this process that follow each other."""
    if not _HEAD:
        _HEAD.append(_END_HEAD.enter_context(shared_head()))
        _END_HEAD.callback(_HEAD.clear)
    return _HEAD[0]


@pytest.fixture
def cluster(ray_head: SharedHead) -> Iterator[Cluster]:
    """A Ray head without CPUs and GPUs, to which a test adds nodes; this process is connected to it."""
    with ray_head.connected() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def one_node(ray_head: SharedHead) -> Iterator[SharedHead]:
    """The head and one node of four CPUs, for all tests of a module; this process is connected to it."""
    with ray_head.with_a_node():
        yield ray_head


@pytest.fixture
def cosmos_ray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command in the test's own process."""
    from cosmos_ray.cli.main import app, run

    def answer(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["cosmos-ray", *map(str, arguments)])
        capsys.readouterr()
        code = run(app)
        return Answer(code, *capsys.readouterr())

    return answer


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """Of five rows that ask for eight clips, three of them with faults."""
    return write_manifest(tmp_path / "m.parquet", ROWS)


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    """That nothing is in yet."""
    return Storage(str(tmp_path / "out"))
