"""Each extra of pyproject.toml is named, with the command that brings it, by whatever misses its package."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.errors import UsageError
from cosmos_ray.job.doctor import Gpu, Machine, findings
from cosmos_ray.models.guardrails.package import PackageCheck
from cosmos_ray.models.guardrails.reference import BlocklistCheck
from cosmos_ray.models.network.neighbourhood import check_natten
from cosmos_ray.store.storage import filesystem_of

ROOT = Path(__file__).parents[1]
#: Of people who work on the project, who have CONTRIBUTING.md.
OF_DEVELOPERS = {"docs", "dev", "mutants"}


def store(uri: str) -> Callable[[], str]:
    def ask() -> str:
        with pytest.raises(UsageError) as caught:
            filesystem_of(uri)
        return str(caught.value)

    return ask


def neighbourhoods() -> str:
    with pytest.raises(UsageError) as caught:
        check_natten("cpu")
    return str(caught.value)


def hopper() -> str:
    machine = Machine({"torch": "2.11.0", "ray": "2.60.0"}, "13.0", (Gpu("H100", (9, 0), 0, 80 * 10**9),), "SDPA", ())
    return " ".join(one.message for one in findings(machine) if one.subject == "attention")


MISSED: dict[str, Callable[[], str]] = {
    "s3": store("s3://bucket/key"),
    "gcs": store("gs://bucket/key"),
    "azure": store("az://container/key"),
    "hopper": hopper,
    "natten": neighbourhoods,
    "guardrail": lambda: " ".join(BlocklistCheck(GuardrailRules(enabled=True)).problems()),
    "guardrail-package": lambda: " ".join(PackageCheck(GuardrailRules(enabled=True, provider="package")).problems()),
}


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_filesystem(*_: object, **__: object) -> None:
        raise ImportError("Install its package")

    def no_version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setattr("fsspec.core.url_to_fs", no_filesystem)
    monkeypatch.setattr("importlib.metadata.version", no_version)
    monkeypatch.setitem(sys.modules, "natten", None)


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("extra", MISSED)
def test_a_package_that_is_missed_is_said_with_the_command_that_brings_it(extra: str) -> None:
    said = MISSED[extra]()
    assert "pip install" in said
    assert f"'.[{extra}]'" in said


def test_no_extra_is_left_out() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(declared) == set(MISSED) | OF_DEVELOPERS
    page = (ROOT / "docs" / "install.md").read_text()
    assert [extra for extra in MISSED if f"`{extra}`" not in page] == []
