"""`deploy/alerts.yaml` and the table of metrics: every metric that there is, with its labels, and none that is not."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from mergeline.domain.ledger import RowKind
from mergeline.domain.vocabulary import Status
from mergeline.metrics import REGISTRY
from mergeline.stream.topics import PARTITIONS

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
VALUES = {
    "answer": {*Status, *RowKind, "answered", "dropped"} - {RowKind.DECIDED},
    "stage": {"route", "apply"},
    "step": {"process", "publish"},
}
PROMETHEUS_LABELS = {"instance", "le"}
NAME, SELECTOR = r"\b(?:mergeline|kube)_\w+", r"(?:\{([^}]*)\})?"
MATCHER = re.compile(r'(\w+)(?:=~?|!=|!~)"([^"]*)"')


def exposed() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Type and labels of each metric, by the name that a counter has with its `_total`."""
    collectors = REGISTRY._collector_to_names
    described = {collector: collector.describe()[0] for collector in collectors}
    return {
        metric.name + ("_total" if metric.type == "counter" else ""): (metric.type, tuple(collector._labelnames))
        for collector, metric in described.items()
    }


METRICS = exposed()
SAMPLES = {
    name.removesuffix("_total") + suffix: labels
    for name, (kind, labels) in METRICS.items()
    for suffix in SUFFIXES[kind]
}


def rules(root: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((root / "deploy/alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def alerts(root: Path) -> list[dict[str, Any]]:
    return rules(root)


def test_every_rule_says_what_it_is_and_how_urgent(alerts: list[dict[str, Any]]) -> None:
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_rules_ask_for_metrics_labels_and_values_that_there_are(alerts: list[dict[str, Any]]) -> None:
    asked = set()
    for rule in alerts:
        labels: set[str] = set()
        for name, selector in re.findall(f"({NAME}){SELECTOR}", rule["expr"]):
            if name.startswith("kube_"):
                labels |= {"pod", "job_name"}
                continue
            assert name in SAMPLES, rule["alert"]
            asked.add(name)
            labels |= set(SAMPLES[name])
            for label, value in MATCHER.findall(selector):
                assert label in SAMPLES[name], rule["alert"]
                assert value in VALUES[label], rule["alert"]
        grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", rule["expr"])
        shown = re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))
        assert {label.strip() for text in grouped for label in text.split(",")} <= labels | PROMETHEUS_LABELS
        assert set(shown) <= labels, rule["alert"]
    assert asked >= {name for name, (kind, _) in METRICS.items() if kind != "histogram"}


def test_a_counter_that_was_only_not_seen_for_a_while_is_no_new_one(alerts: list[dict[str, Any]]) -> None:
    by_name = {rule["alert"]: " ".join(rule["expr"].split()) for rule in alerts}
    appears = re.compile(
        r"(?P<counter>mergeline_\w+\{[^}]*\}) unless (?P=counter) offset 15m"
        r" unless \( last_over_time\((?P=counter)\[1d\] offset 15m\) == (?P=counter)"
        r" unless on \(instance\) mergeline_assigned_partitions offset 15m \)"
    )
    asking = {name for name, expression in by_name.items() if "unless mergeline_messages_total" in expression}
    assert asking == {name for name, expression in by_name.items() if appears.search(expression)}
    assert asking == {"MergelineDeadLetters", "MergelineRequestIdsReused"}


def test_the_rules_fit_what_kubernetes_yaml_makes(alerts: list[dict[str, Any]], root: Path) -> None:
    by_name = {rule["alert"]: rule["expr"] for rule in alerts}
    manifests = yaml.safe_load_all((root / "deploy/kubernetes.yaml").read_text(encoding="utf-8"))
    made = {manifest["kind"]: manifest for manifest in manifests}
    (worker,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert f"< {4 * PARTITIONS}" in by_name["MergelinePartitionsUnread"]
    assert f'container="{worker["name"]}"' in by_name["MergelineRestarts"]
    assert f'pod=~"{made["Deployment"]["metadata"]["name"]}-.*"' in by_name["MergelineRestarts"]
    assert f'job_name=~"{made["CronJob"]["metadata"]["name"]}-.*"' in by_name["MergelinePruneFailed"]


def test_the_table_has_each_metric_with_its_type_its_labels_and_their_values(root: Path) -> None:
    text = (root / "deploy/README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(mergeline_\w+)` \| (\w+) \|([^|]*)\|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    found = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    assert found == METRICS
    meanings = {name: meaning for name, _, _, meaning in rows}
    for name, label in (("mergeline_messages_total", "answer"), ("mergeline_step_seconds", "step")):
        assert VALUES[label] <= set(re.findall(r"`(\w+)`", meanings[name]))
    assert VALUES["stage"] <= set(re.findall(r"`(\w+)`", meanings["mergeline_publish_failures_total"]))


def test_no_other_series_comes_with_a_counter_or_a_histogram() -> None:
    registry = CollectorRegistry()
    Histogram("one", "of any kind", registry=registry).observe(1)
    assert b"_created" not in generate_latest(registry)
