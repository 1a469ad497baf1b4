"""`mergeline bench` from outside: everything is measured, every answer is right. No figure is judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

ROOT = Path(__file__).parents[2]
SMALL = [
    *("--quick", "--compare", "--requests", "3000", "--customers", "500"),
    *("--seconds", "1.0", "--baseline-requests", "500"),
]
PATIENCE_S = 500
pytestmark = pytest.mark.timeout(PATIENCE_S + 30)


@pytest.fixture(scope="module")
def report(kafka, postgres):
    """The bench on the tests' services; what it made there, it has removed."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MERGELINE_")}
    environ["MERGELINE_DATABASE_URL"] = postgres.database_url
    environ["MERGELINE_KAFKA_BOOTSTRAP_SERVERS"] = kafka.bootstrap_servers
    done = subprocess.run(
        [sys.executable, "-m", "mergeline", "bench", "--given", "--json", *SMALL],
        cwd=ROOT, env=environ, check=False, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_the_figures_that_are_compared_are_there(report, capsys):
    rate, other = report["requests_per_second"], report["baseline_requests_per_second"]
    assert rate > 0
    assert report["worker_cpu_us_per_request"] > 0
    assert 0 < report["latency_ms_p50"] <= report["latency_ms_p99"]
    assert report["ratio"] == pytest.approx(rate / other, abs=0.05)
    assert report["floor_share"] == pytest.approx(rate / report["floor_requests_per_second"], abs=0.001)  # as printed
    with capsys.disabled():  # reported, and not judged: this machine may be busy, and the run is short
        print(f"\nworker : per-message baseline = {report['ratio']:.1f} ({rate:.0f} and {other:.0f} requests/s)")


def test_every_message_was_answered_once_and_rightly_by_both(report):
    runs = report["closed"], report["opened"][0], report["baseline"]
    assert [line for run in runs for line in run["judgement"]["wrong"]] == []
    assert report["closed"]["judgement"]["answered"] == 3000
    assert report["baseline"]["judgement"]["answered"] == 500


def test_the_floor_wrote_the_rows_of_every_request_dead_letters_too(report):
    assert report["floor"]["requests"] == 3000


def test_a_run_says_how_to_repeat_it(report):
    assert sorted(report["command"].split()) == sorted(["mergeline", "bench", "--given", *SMALL])


def test_batches_and_memory_are_those_of_the_worker(report):
    assert report["closed"]["batches"]["apply"]["messages_mean"] > 1
    assert report["peak_rss_bytes"] > 1 << 20


async def test_nothing_stays_on_services_that_were_given(report, kafka, postgres):
    connection = await asyncpg.connect(postgres.database_url)
    try:
        assert await connection.fetch("select datname from pg_database where datname like 'bench_%'") == []
    finally:
        await connection.close()
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await client.start()
    try:
        assert [name for name in await client.list_topics() if name.startswith("bench_")] == []
    finally:
        await client.close()
