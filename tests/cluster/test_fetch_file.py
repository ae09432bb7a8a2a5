"""`cluster/fetch.yaml` writes to a volume, as the image's user, what the pods of `cluster/rayjob.yaml` then read."""

from __future__ import annotations

import re
from typing import Any

import typer
import yaml
from support.paths import ROOT

from cosmos_ray.cli.main import app
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.version import VERSION

CLAIM, JOB = yaml.safe_load_all((ROOT / "cluster" / "fetch.yaml").read_text())
POD: dict[str, Any] = JOB["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
RAY = yaml.safe_load((ROOT / "cluster" / "rayjob.yaml").read_text())["spec"]["rayClusterSpec"]
PAGE = (ROOT / "docs" / "weights.md").read_text()


def test_its_command_is_one_that_the_command_line_takes() -> None:
    program, group, command, *arguments = CONTAINER["command"]
    assert (program, group, command) == ("cosmos-ray", "model", "fetch")
    model = typer.main.get_command(app).commands[group]  # type: ignore[attr-defined]
    given = model.commands[command].make_context(command, list(arguments)).params
    name, to = str(given["model"]), str(given["to"])
    assert load_bundle(name).name == name
    assert to == f"/models/{name}"
    assert f"`--model {to}`" in PAGE, "what a job is then told"


def test_it_may_write_what_it_fetches_and_holds_it_on_the_way() -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    folders = re.findall(r"(?:COSMOS_RAY_CACHE|HF_HOME)=(\S+)", (ROOT / "cluster" / "Dockerfile").read_text())
    assert all(folder.startswith(f"{mounts['cache']}/") for folder in folders)
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": CLAIM["metadata"]["name"]}
    shown = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)[0])
    assert shown["volumes"][0]["persistentVolumeClaim"] == {"claimName": CLAIM["metadata"]["name"], "readOnly": True}
    assert shown["containers"][0]["volumeMounts"][0]["mountPath"] == mounts["models"]
    assert POD["securityContext"]["fsGroup"] == POD["securityContext"]["runAsUser"], "an empty volume is root's"
    for size in (CLAIM["spec"]["resources"]["requests"]["storage"], volumes["cache"]["emptyDir"]["sizeLimit"]):
        assert int(size.removesuffix("Gi")) >= 65, "what docs/install.md asks for weights and their cache"


def test_its_pod_is_as_the_others_are() -> None:
    head = RAY["headGroupSpec"]["template"]["spec"]
    assert CONTAINER["image"] == head["containers"][0]["image"] == f"REGISTRY/cosmos-ray:{VERSION}"
    assert CONTAINER["envFrom"] == head["containers"][0]["envFrom"]
    assert CONTAINER["securityContext"] == head["containers"][0]["securityContext"]
    assert head["securityContext"].items() <= POD["securityContext"].items()
    assert POD["restartPolicy"] in ("Never", "OnFailure"), "a Job takes no other"
