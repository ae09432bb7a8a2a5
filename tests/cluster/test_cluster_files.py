"""The files in `cluster/` say what the tools that read them expect, and fit what a job asks a cluster for.

* manifests: KubeRay's own definitions; one gang a pod; drained before they are killed; token and secrets by name
* Ray's autoscaler, given them, makes a node a gang, reserved ones before spot ones, and no more than are allowed
* a queue of Kueue holds exactly its job
* `ray up`'s file: Ray's validator, and instances of the right kinds at an EC2 server
* the image: the repository's own pins, sources that exist, one version of CUDA
* docs/cluster.md: its commands are ones that the job's command line takes, its files are there

What runs of them is in `test_local_cluster.py`.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from support.heads import free_ports
from support.paths import ROOT

from cosmos_ray.cli.main import app
from cosmos_ray.config import GenerateConfig, build_config
from cosmos_ray.models.bundle.bundle import check_world_size, load_bundle
from cosmos_ray.version import VERSION

CLUSTER = ROOT / "cluster"
#: KubeRay's definitions are no part of this repository: beside a checkout that is developed, they lie here.
CHECK_KUBERAY = ROOT.parent / "shared" / "tools" / "check-kuberay"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
DOCKERFILE = (CLUSTER / "Dockerfile").read_text()
RAY_FILES = ("rayjob.yaml", "raycluster.yaml", "kueue.yaml")
GIBI = 2**30
#: What Pod Security `restricted` asks of each container, beside a user that is not root.
LEAST = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def documents(name: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((CLUSTER / name).read_text()) if one]


def of_kind(name: str, kind: str) -> dict[str, Any]:
    (found,) = [one for one in documents(name) if one["kind"] == kind]
    return found


def ray_cluster(name: str) -> dict[str, Any]:
    """The cluster's spec in a file, of a RayCluster or of the one within a RayJob."""
    (found,) = [one for one in documents(name) if one["kind"] in ("RayCluster", "RayJob")]
    spec: dict[str, Any] = found["spec"]
    return spec if found["kind"] == "RayCluster" else spec["rayClusterSpec"]


def containers(name: str) -> list[dict[str, Any]]:
    """Each group's container, the head's first."""
    spec = ray_cluster(name)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"]["containers"][0] for group in groups]


def settings_of(entrypoint: str) -> GenerateConfig:
    """What `cosmos-ray`, the real one, makes of a command."""
    program, command, *flags = shlex.split(entrypoint)
    assert (program, command) == ("cosmos-ray", "generate")
    generate = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    given = generate.make_context(command, flags).params
    assignments = given.pop("assignments")
    return build_config({name: value for name, value in given.items() if value}, None, assignments or ())


@pytest.mark.slow
def test_kuberay_knows_every_field() -> None:
    if not CHECK_KUBERAY.exists():
        pytest.skip(f"KubeRay's definitions are not beside this checkout ({CHECK_KUBERAY})")
    command = [sys.executable, CHECK_KUBERAY, *(CLUSTER / name for name in RAY_FILES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "3 RayCluster/RayJob documents, 0 faults", done.stdout + done.stderr


@pytest.mark.parametrize("name", ["rayjob.yaml", "kueue.yaml"])
def test_the_jobs_gangs_are_the_clusters_pods(name: str) -> None:
    """A gang asks for all its GPUs in one demand: a pod has exactly them, and there are as many pods as gangs."""
    job = of_kind(name, "RayJob")["spec"]
    settings = settings_of(job["entrypoint"])
    check_world_size(load_bundle(settings.model), settings.gang_size or 0)
    pods = [container["resources"] for container in containers(name)[1:]]
    assert {pod[kind]["nvidia.com/gpu"] for pod in pods for kind in ("requests", "limits")} == {str(settings.gang_size)}
    assert sum(group["maxReplicas"] for group in ray_cluster(name)["workerGroupSpecs"]) == settings.max_gangs
    assert settings.gang.step_checkpoint, "a spot notice is shorter than a clip"
    assert job["shutdownAfterJobFinishes"]


def test_the_three_clusters_are_one() -> None:
    """The job's own, the one that stays, and the queued one, which is of a fixed size and has no spot nodes."""
    job, queued = ray_cluster("rayjob.yaml"), ray_cluster("kueue.yaml")
    assert job == ray_cluster("raycluster.yaml")
    assert {name: job[name] for name in ("rayVersion", "authOptions", "headGroupSpec")} == {
        name: queued[name] for name in ("rayVersion", "authOptions", "headGroupSpec")
    }
    assert not {"enableInTreeAutoscaling", "autoscalerOptions"} & set(queued), "Kueue refuses jobs that autoscale"
    (group,), reserved = queued["workerGroupSpecs"], job["workerGroupSpecs"][0]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == 2
    selector = reserved["template"]["spec"].pop("nodeSelector")
    assert group["template"] == reserved["template"]
    labels = next(one for one in documents("kueue.yaml") if one["metadata"]["name"] == "h100")["spec"]["nodeLabels"]
    assert labels.items() <= selector.items()
    assert shlex.split(of_kind("rayjob.yaml", "RayJob")["spec"]["entrypoint"].replace("1:4", "2")) == shlex.split(
        of_kind("kueue.yaml", "RayJob")["spec"]["entrypoint"]
    )


@pytest.mark.parametrize("name", RAY_FILES)
def test_pods_run_the_pinned_image_with_a_token_and_secrets_by_name(name: str) -> None:
    spec = ray_cluster(name)
    assert spec["rayVersion"] == PINS["ray"]
    assert spec["authOptions"] == {"mode": "token", "secretName": "cosmos-ray-token"}
    for container in containers(name):
        assert container["image"] == f"REGISTRY/cosmos-ray:{VERSION}"
        assert container["envFrom"] == [{"secretRef": {"name": "cosmos-ray"}}]
        assert "env" not in container, "a value written here is no secret"
        assert container["securityContext"] == LEAST
        assert container["resources"]["requests"] == container["resources"]["limits"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    assert spec.get("autoscalerOptions", {"securityContext": LEAST})["securityContext"] == LEAST
    assert {"num-cpus": "0", "num-gpus": "0"}.items() <= spec["headGroupSpec"]["rayStartParams"].items()


@pytest.mark.parametrize("name", ["rayjob.yaml", "kueue.yaml"])
def test_the_pod_that_submits_the_job_asks_for_as_little(name: str) -> None:
    """KubeRay's own says nothing of its user and rights, and a namespace that is `restricted` refuses it."""
    pod = of_kind(name, "RayJob")["spec"]["submitterPodTemplate"]["spec"]
    head = ray_cluster(name)["headGroupSpec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never", "a Job takes no other than that and OnFailure"
    assert pod["securityContext"] == head["securityContext"]
    assert container["securityContext"] == LEAST
    assert container["image"] == head["containers"][0]["image"]
    assert not {"command", "args", "env", "envFrom"} & set(container), "KubeRay's; it needs none of the job's secrets"


@pytest.mark.parametrize("name", RAY_FILES)
def test_a_pod_drains_its_node_before_it_is_killed(name: str) -> None:
    for group in ray_cluster(name)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
        drain, _, stop = command.partition("; ")
        assert stop == "ray stop"
        notice_s = int(drain.split("--notice-s ")[1])
        assert 180 <= notice_s <= pod["terminationGracePeriodSeconds"] - 30
        assert in_image(drain.split()[1]).exists()


def test_a_pod_whose_cluster_is_gone_is_not_held_up() -> None:
    (port,) = free_ports(1)  # nobody listens there
    command = [sys.executable, CLUSTER / "drain_node.py", f"--address=127.0.0.1:{port}", "--notice-s=540"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "does not answer" in done.stdout


@pytest.mark.parametrize("name", RAY_FILES)
def test_weights_and_shared_memory_have_their_volumes(name: str) -> None:
    folders = dict(re.findall(r"(COSMOS_RAY_CACHE|HF_HOME)=(\S+)", DOCKERFILE))
    assert len(folders) == 2
    for group in ray_cluster(name)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert all(Path(folder).is_relative_to(mounts["cache"]) for folder in folders.values())
        assert mounts["shm"] == "/dev/shm"
        volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
        assert volumes["shm"]["medium"] == "Memory"
        shm, memory = (
            int(size.removesuffix("Gi")) * GIBI
            for size in (volumes["shm"]["sizeLimit"], pod["containers"][0]["resources"]["limits"]["memory"])
        )
        assert int(group["rayStartParams"]["object-store-memory"]) < shm / 4 < memory / 16


def test_spot_pods_give_way_first() -> None:
    classes = {one["metadata"]["name"]: one["value"] for one in documents("priorities.yaml")}
    reserved, spot = ray_cluster("rayjob.yaml")["workerGroupSpecs"]
    of_reserved, of_spot = (classes[group["template"]["spec"]["priorityClassName"]] for group in (reserved, spot))
    assert of_reserved > of_spot > -10, "below -10 Kubernetes' cluster autoscaler adds no node for a pod"


def autoscaling_config(name: str) -> dict[str, Any]:
    """What Ray's autoscaler reads out of a file."""
    if name == "aws.yaml":
        (config,) = yaml.safe_load_all((CLUSTER / name).read_text())
        config["file_mounts"] = {}  # they lie with whom runs `ray up`
        return dict(config)
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    metadata = {"name": "cosmos-ray", "namespace": "default"}
    return dict(_derive_autoscaling_config_from_ray_cr({"metadata": metadata, "spec": ray_cluster(name)}))


@pytest.mark.parametrize(
    ("name", "reserved", "spot"), [("raycluster.yaml", "reserved", "spot"), ("aws.yaml", "gpu", "gpu-spot")]
)
def test_ray_makes_a_node_a_gang_and_reserved_ones_first(name: str, reserved: str, spot: str) -> None:
    """Ray's own scheduler, asked as waiting gang leaders ask it."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated.autoscaler_pb2 import ResourceRequestByCount

    config = AutoscalingConfig(autoscaling_config(name))

    def launched(gangs: int) -> dict[str, int]:
        demand = ResourceRequestByCount(request=ResourceRequestUtil.make({"GPU": 8}), count=gangs)
        request = SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_nodes(),
            resource_requests=[demand],
            current_instances=[],
            idle_timeout_s=config.get_idle_timeout_s(),
        )
        return {one.instance_type: one.count for one in ResourceDemandScheduler(None).schedule(request).to_launch}

    assert launched(1) == {reserved: 1}
    assert launched(3) == {reserved: 2, spot: 1}
    assert launched(9) == {reserved: 2, spot: 2}


def test_the_queue_holds_exactly_its_job() -> None:
    job, local = of_kind("kueue.yaml", "RayJob"), of_kind("kueue.yaml", "LocalQueue")
    queue = of_kind("kueue.yaml", "ClusterQueue")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
    assert job["metadata"]["namespace"] == local["metadata"]["namespace"]
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    (group,) = queue["spec"]["resourceGroups"]
    flavors = {
        one["name"]: {item["name"]: item["nominalQuota"] for item in one["resources"]} for one in group["flavors"]
    }
    assert set(flavors) == {
        one["metadata"]["name"] for one in documents("kueue.yaml") if one["kind"] == "ResourceFlavor"
    }
    worker = containers("kueue.yaml")[1]["resources"]["requests"]
    gangs = ray_cluster("kueue.yaml")["workerGroupSpecs"][0]["replicas"]
    assert flavors["h100"]["nvidia.com/gpu"] == str(gangs * int(worker["nvidia.com/gpu"]))
    assert flavors["h100"]["cpu"] == str(gangs * int(worker["cpu"]))
    assert (flavors["h100"]["memory"], worker["memory"], gangs) == ("1Ti", "512Gi", 2)
    assert flavors["cpu"]["nvidia.com/gpu"] == "0", "the head and the submitter are kept off the GPU nodes by this"


@pytest.fixture
def ec2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of AWS's interfaces with the instance profile that docs/cluster.md has made; a home of its own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-2"}
    for name, value in {**environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    import boto3

    boto3.client("iam").create_instance_profile(InstanceProfileName="cosmos-ray")
    yield
    server.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ec2")
def test_ray_up_starts_the_right_instances() -> None:
    """Ray's validator and what `ray up` does at EC2, up to the first SSH connection."""
    import boto3
    from ray.autoscaler._private.commands import _bootstrap_config
    from ray.autoscaler._private.providers import _get_node_provider
    from ray.autoscaler._private.util import prepare_config

    config = _bootstrap_config(prepare_config(autoscaling_config("aws.yaml")), no_config_cache=True)
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    for name, node_type in config["available_node_types"].items():
        provider.create_node(node_type["node_config"], {"ray-node-type": "worker", "ray-user-node-type": name}, 1)
    reservations = boto3.client("ec2").describe_instances()["Reservations"]
    instances = [instance for reservation in reservations for instance in reservation["Instances"]]
    assert [(instance["InstanceType"], instance.get("InstanceLifecycle")) for instance in instances] == [
        ("m7i.2xlarge", None),
        ("p5.48xlarge", None),
        ("p5.48xlarge", "spot"),
    ]
    assert all(instance["IamInstanceProfile"]["Arn"].endswith("/cosmos-ray") for instance in instances)
    assert config["available_node_types"]["gpu"]["resources"]["GPU"] == 8


def test_ray_up_starts_nodes_as_the_image_expects() -> None:
    (config,) = yaml.safe_load_all((CLUSTER / "aws.yaml").read_text())
    assert config["docker"]["image"] == containers("rayjob.yaml")[0]["image"]
    options = dict(option.split(" ", 1) for option in config["docker"]["run_options"] if not option.startswith("--env"))
    assert options["--volume"].endswith(":/cache")
    tokens = [option.split("=", 1)[1] for option in config["docker"]["run_options"] if option.startswith("--env")]
    assert set(tokens) == set(config["file_mounts"]), "the tokens lie where the variables say"
    (script,) = re.findall(r"/opt/cosmos_ray/\S+\.py", " ".join(config["worker_start_ray_commands"]))
    assert in_image(script).exists()
    assert config["max_workers"] == sum(one.get("max_workers", 0) for one in config["available_node_types"].values())


def in_image(path: str) -> Path:
    """The file of the repository that the image has at a path; fails if the Dockerfile copies none there."""
    inside = Path(path).relative_to("/opt/cosmos_ray")
    assert any(str(inside) in (source, f"{source}/{inside.name}") for source, _ in copied()), f"{path} is not copied"
    return ROOT / inside


def copied() -> list[tuple[str, str]]:
    """(source, destination) of every COPY, the latter relative to /opt/cosmos_ray."""
    found = []
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, flags=re.MULTILINE):
        *sources, destination = line.split()
        found += [(source, destination) for source in sources]
    return found


def test_the_image_copies_what_exists_to_where_it_was() -> None:
    rules = [line for line in (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines() if line]
    assert rules[0] == "*"
    for source, destination in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, rule[1:]) for rule in rules if rule.startswith("!")), f"{source} is ignored"
        assert destination in ("./", source, f"{Path(source).parent}/"), source
    needed = {PYPROJECT["project"]["readme"], *PYPROJECT["project"]["license-files"], "cosmos_ray", "jobs"}
    assert needed <= {source for source, _ in copied()}


def test_the_image_has_the_repositorys_pins() -> None:
    pinned = dict(re.findall(r"([A-Za-z0-9-]+)==([0-9.]+)", DOCKERFILE))
    assert pinned.pop("fa3-fwd") == PYPROJECT["project"]["optional-dependencies"]["hopper"][0].split(">=")[1]
    assert pinned == {name: PINS[name] for name in ("torch", "boto3")}
    assert "--constraint constraints.txt" in DOCKERFILE
    (base,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    cuda = re.fullmatch(r"nvidia/cuda:(\d+)\.(\d+)\.\d+-base-ubuntu24\.04", base)
    assert cuda
    assert f"https://download.pytorch.org/whl/cu{cuda[1]}{cuda[2]}" in DOCKERFILE
    extras = re.findall(r"^ARG EXTRAS=([a-z0-9,]+)$", DOCKERFILE, flags=re.MULTILINE)[0].split(",")
    assert '".[$EXTRAS]"' in DOCKERFILE
    assert set(extras) <= set(PYPROJECT["project"]["optional-dependencies"])


def test_the_docs_commands_are_understood() -> None:
    docs = (ROOT / "docs" / "cluster.md").read_text()
    blocks = "\n".join(re.findall(r"^```bash\n(.*?)^```", docs, flags=re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    commands = re.findall(r"(?:cosmos-ray|python jobs/generate\.py) (?:generate )?(--manifest .*)", blocks)
    assert len(commands) == 5
    for flags in commands:
        settings = settings_of(f"cosmos-ray generate {flags}")
        check_world_size(load_bundle(settings.model), settings.gang_size or 0)
    for path in re.findall(r"cluster/[\w.]+\w", blocks):
        assert (ROOT / path).exists(), path
    assert f"cosmos-ray:{VERSION} ." in blocks


def test_the_index_names_every_file() -> None:
    named = set(re.findall(r"^\| `([^`]+)`", (CLUSTER / "README.md").read_text(), flags=re.MULTILINE))
    assert {path.name for path in CLUSTER.iterdir() if path.is_file()} - {"README.md"} <= named
