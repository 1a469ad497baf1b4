"""What an attack says in the end: one JSON line for programs, one row for the table of figures."""

import json
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commit():
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    return answer.stdout.strip() or "unknown"


def machine():
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def tell(name, command, trials, defects, figures, duration_s):
    """Print it all; the exit status. `trials` is what the bound of 3/n counts."""
    found = {
        "attack": name, "command": command, "commit": commit(), "machine": machine(), "duration_s": round(duration_s),
        "trials": trials, "defects": dict(defects.counts), "bound": round(3 / max(1, trials), 6), **figures,
    }  # fmt: skip
    print(json.dumps(found))
    for line in defects.lines():
        print(f"DEFECT {line}")
    result = "no defect" if not defects else f"{sum(defects.counts.values())} defects"
    print(f"| {name} | `{command}` | {trials} | {result} | {duration_s / 60:.0f} min | {found['bound']} |")
    if defects:
        print(f"replay with: {command}")
    return 1 if defects else 0
