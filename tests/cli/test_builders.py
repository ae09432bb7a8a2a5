"""Options that builders share: the same words everywhere, and what they say together."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from cosmos_ray.cli.main import app
from cosmos_ray.manifest.builders.notes import Built

COMMANDS = typer.main.get_command(app).commands["manifest"].commands  # type: ignore[attr-defined]
#: Builders, and whose camera names are usual there.
BUILDERS = {
    "from-folder": None,
    "from-table": None,
    "from-nuscenes": "nuscenes",
    "from-rds-hq": "rds-hq",
    "from-batch-json": None,
    "from-multiview-json": None,
}


def options(command: str) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in COMMANDS[command].params}


@pytest.mark.parametrize("command", BUILDERS)
def test_cameras_are_said_alike(command: str) -> None:
    found, first = options(command), options("from-folder")
    for name in ("cameras", "views", "n_views"):
        assert (found[name].opts, found[name].help) == (first[name].opts, first[name].help)
    assert [found[name].default for name in ("cameras", "views", "n_views")] == [BUILDERS[command], None, None]
    assert not {"rig", "captions"} & set(found)


def test_every_builder_is_looked_at() -> None:
    assert {name for name in COMMANDS if name.startswith("from-")} == set(BUILDERS)


def test_what_options_say_together_reaches_the_builder(monkeypatch: pytest.MonkeyPatch, cosmos_ray: Any) -> None:
    given: dict[str, Any] = {}

    def build(*places: str, **options: Any) -> Built:
        given.update(options)
        return Built(2)

    monkeypatch.setattr("cosmos_ray.manifest.builders.folder.from_folder", build)
    words = "--cameras left=rear --views rear --prompt street --fps 5"
    answer = cosmos_ray("manifest", "from-folder", "clips", "--out", "m.parquet", *words.split())
    assert (answer.code, answer.out) == (0, "m.parquet: 2 rows\n")
    assert given["rig"].asked == ("rear",)
    assert given["rig"].names.views == {"left": "rear"}
    assert (given["captions"].text, given["fps"], given["frames"]) == ("street", 5, None)
