"""Run a command; print as JSON its exit code, seconds and peak memory.

A program of its own: what the kernel calls the peak of a process begins with that of the process that started it, which
must therefore be small. The command's output follows on standard error.

    python -S launch.py lungsight diagnose scan/ -o out/
"""

import json
import os
import subprocess
import sys
import time


def main() -> None:
    """Run what the command line says."""
    began = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)  # noqa: S603 - our own command
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    # Linux counts ru_maxrss in KiB.
    measured = {"exit": os.waitstatus_to_exitcode(status), "seconds": seconds, "peak_mb": used.ru_maxrss * 1024 / 1e6}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
