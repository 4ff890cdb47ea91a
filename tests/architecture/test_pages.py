"""The numbers in the pages are those of benchmarks/results."""

import subprocess
import sys


def test_every_table_comes_from_its_result_file(request):
    root = request.config.rootpath
    command = [sys.executable, str(root / "benchmarks" / "tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
