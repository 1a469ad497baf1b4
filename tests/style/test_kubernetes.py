"""`deploy/kubernetes.yaml`: what it says of the image, of settings and of time-outs is what the code says."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from mergeline import __version__
from mergeline.cli import main
from mergeline.health import READY_TIMEOUT_S, HealthServer
from mergeline.settings import FILE_SUFFIX, Settings, variable
from mergeline.stream.topics import PARTITIONS

Manifest = dict[str, Any]
OWNERS, WORKERS = "mergeline-owner", "mergeline-worker"
MIB = 1024 * 1024
WORKER_MIB, PARTITION_MIB, FORMS = 120, 2, 8
"""README.md, Memory."""
TOPICS_READ = 4


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "deploy/kubernetes.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def manifests(text: str) -> dict[str, Manifest]:
    """By their kind; there is one of each."""
    found = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}
    assert set(found) == {"ConfigMap", "Job", "CronJob", "Deployment", "PodDisruptionBudget"}
    return found


@pytest.fixture(scope="module")
def pods(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """The specs of pods, by the kind of what makes them."""
    job = manifests["CronJob"]["spec"]["jobTemplate"]
    of = {"Job": manifests["Job"], "CronJob": job, "Deployment": manifests["Deployment"]}
    return {kind: manifest["spec"]["template"]["spec"] for kind, manifest in of.items()}


@pytest.fixture(scope="module")
def worker(pods: dict[str, Manifest]) -> Manifest:
    (container,) = pods["Deployment"]["containers"]
    return container


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def parsed(command: click.Command, arguments: list[str]) -> click.Context:
    """The context that the arguments lead to; a usage error where they are none of ours."""
    if isinstance(command, click.Group):
        found = command.get_command(click.Context(command), arguments[0])
        assert found is not None, arguments
        return parsed(found, arguments[1:])
    return command.make_context("", list(arguments))


def seconds(probe: Manifest) -> int:
    return probe["periodSeconds"] * probe["failureThreshold"]


def test_its_settings_are_all_that_a_worker_needs(manifests: dict[str, Manifest], tmp_path: Path) -> None:
    values = {"database-url": "postgresql://mergeline@db/mergeline", "kafka-username": "u", "kafka-password": "p"}
    given = {}
    for name, value in manifests["ConfigMap"]["data"].items():
        given[name] = value
        if name.endswith(FILE_SUFFIX):
            file = tmp_path / Path(value).name
            file.write_text(values[file.name], encoding="utf-8")
            given[name] = str(file)
    known = {variable(field) for field in Settings.model_fields}
    assert {name for name in given if name.removesuffix(FILE_SUFFIX) not in known} == set()
    assert Settings.load(given).kafka_security_protocol == "SASL_SSL"


def test_secrets_come_as_files_of_a_secret_of_their_own(
    manifests: dict[str, Manifest], pods: dict[str, Manifest], text: str
) -> None:
    data = manifests["ConfigMap"]["data"]
    secret = {variable(name) for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret & data.keys() == set()
    wanted = {Path(value).name for value in data.values() if value.startswith("/etc/mergeline/")}
    assert set(re.findall(r"--from-file=(\S+)", text)) == wanted
    used = {kind: volume["secret"]["secretName"] for kind, pod in pods.items() for volume in pod["volumes"][1:]}
    assert used == {"Job": OWNERS, "CronJob": OWNERS, "Deployment": WORKERS}


def test_every_container_runs_a_command_of_ours_in_the_image_of_this_release(
    manifests: dict[str, Manifest], pods: dict[str, Manifest]
) -> None:
    ran = {kind: [container["args"] for container in containers(pod)] for kind, pod in pods.items()}
    for container in (container for pod in pods.values() for container in containers(pod)):
        assert "command" not in container, "the image's entry point is the command"
        assert container["image"].endswith(f"mergeline:{__version__}")
        assert container["envFrom"] == [{"configMapRef": {"name": manifests["ConfigMap"]["metadata"]["name"]}}]
        parsed(main, container["args"])
    assert ran["Job"][0] == ["migrate"]
    assert ran["Job"][1][:2] == ["topics", "create"]
    assert (ran["CronJob"][0][:2], ran["Deployment"]) == (["prune", "--yes"], [["worker"]])
    assert manifests["Job"]["metadata"]["name"].endswith(__version__.replace(".", "-"))


def test_every_pod_is_the_image_s_user_and_has_no_more_rights_than_it_needs(
    pods: dict[str, Manifest], root: Path
) -> None:
    dockerfile = (root / "deploy/Dockerfile").read_text(encoding="utf-8")
    ((user, group),) = re.findall(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert re.findall(r'^ENTRYPOINT \["(\w+)"\]$', dockerfile, re.MULTILINE) == ["mergeline"]
    for pod in pods.values():
        context = pod["securityContext"]
        assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, int(user), int(group))
        assert context["fsGroup"] == int(group), "or it could not read its secrets"
        assert pod["enableServiceLinks"] is pod["automountServiceAccountToken"] is False
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert "emptyDir" in volumes["tmp"]
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_probes_ask_what_the_worker_answers_and_wait_for_as_long_as_it_may_take(
    pods: dict[str, Manifest], worker: Manifest
) -> None:
    settings = Settings()
    (port,) = worker["ports"]
    assert port["containerPort"] == settings.http_port

    async def ready() -> None: ...

    served = {route.resource.canonical for route in HealthServer("", 0, ready)._runner.app.router.routes()}
    paths = {name: worker[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: get["path"] for name, get in paths.items()} == {
        "startup": "/live", "liveness": "/live", "readiness": "/ready",
    }  # fmt: skip
    assert {get["path"] for get in paths.values()} <= served
    assert {get["port"] for get in paths.values()} == {port["name"]}
    assert seconds(worker["startupProbe"]) * 1000 > 2 * settings.start_timeout_ms
    assert worker["readinessProbe"]["timeoutSeconds"] > READY_TIMEOUT_S
    assert pods["Deployment"]["terminationGracePeriodSeconds"] * 1000 > settings.shutdown_timeout_ms


def test_metrics_are_looked_for_where_they_are(manifests: dict[str, Manifest], worker: Manifest) -> None:
    annotations = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(worker["ports"][0]["containerPort"])
    assert annotations["prometheus.io/path"] == "/metrics"


def test_there_are_no_more_workers_than_partitions(manifests: dict[str, Manifest], pods: dict[str, Manifest]) -> None:
    partitions = parsed(main, pods["Job"]["containers"][0]["args"]).params["partitions"]
    assert manifests["Deployment"]["spec"]["replicas"] <= partitions == PARTITIONS


def test_a_worker_may_take_the_memory_that_its_settings_bound(worker: Manifest) -> None:
    settings = Settings()
    batches_mib = FORMS * settings.batch_max_bytes // MIB * (settings.apply_lanes + 1)
    limit = int(worker["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert limit > WORKER_MIB + PARTITION_MIB * PARTITIONS * TOPICS_READ + batches_mib
    assert "cpu" not in worker["resources"]["limits"]


def test_the_workers_are_those_that_are_named(manifests: dict[str, Manifest]) -> None:
    deployment, budget = manifests["Deployment"]["spec"], manifests["PodDisruptionBudget"]["spec"]
    assert deployment["selector"] == budget["selector"]
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert budget["maxUnavailable"] < deployment["replicas"]
