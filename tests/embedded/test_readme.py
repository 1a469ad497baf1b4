"""The program that `tests/README.md` gives to those who test their own services, as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from mergeline.embedded.ports import free_ports

ROOT = Path(__file__).parents[2]
README = ROOT / "tests" / "README.md"
PORT = "18080"
YOUR_TESTS = "    ...  # your tests, with these two addresses\n"
ASKING = '    print(urllib.request.urlopen("http://127.0.0.1:18080/ready", timeout=5).status)\n'


def test_the_program_brings_everything_up_and_leaves_it_well():
    (program,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert program.count(YOUR_TESTS) == 1
    (port,) = free_ports(1)
    program = program.replace(YOUR_TESTS, ASKING).replace(PORT, str(port))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MERGELINE_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), environment.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "200", ended.stdout
