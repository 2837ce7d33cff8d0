"""How much disk a plain install takes: a wheel in a bare environment, without extras.

``python benchmarks/install_size.py dist/lungsight-*.whl [--readme README.md]`` prints a table. It fails if the
program does not start there, if a library of an extra came with it, if it takes more than the limit, or if README
claims another number.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LIMIT_MB = 650
CLAIM_TOLERANCE = 0.05
"""Greatest relative difference between README's number and the measured one: versions of libraries move it."""
NOT_INSTALLED = ("torch", "pynetdicom", "matplotlib", "SimpleITK", "onnx", "sklearn", "pytest")
SHOWN = 12


def run(*command: str | Path) -> str:
    """The command's output; a failure ends the script with it."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own commands
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def disk_mb(path: Path) -> float:
    """Megabytes (10^6 bytes) of disk that a file or folder takes, counted in blocks as `du` does."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum(file.stat().st_blocks * 512 for file in files) / 1e6


def check_program(environment: Path) -> None:
    """The program starts, and what only an extra needs is not there."""
    python = environment / "bin" / "python"
    run(environment / "bin" / "lungsight", "--help")
    there = run(
        python,
        "-c",
        f"from importlib.util import find_spec; print(*[n for n in {NOT_INSTALLED!r} if find_spec(n)])",
    ).split()
    if there:
        sys.exit(f"a plain install brought {', '.join(there)}, which only extras need")
    if not run(python, "-c", "import lungsight; print(*map(repr, [getattr(lungsight, n) for n in lungsight.__all__]))"):
        sys.exit("lungsight has no public names")


def check_claim(readme: Path, measured_mb: float) -> None:
    """README's "takes N MB on disk" is what was measured."""
    claim = re.search(r"takes (\d+) MB on\s+disk", readme.read_text("utf-8"))
    if claim is None:
        sys.exit(f"{readme} does not say how many MB an install takes ('takes N MB on disk')")
    claimed_mb = int(claim[1])
    if abs(claimed_mb / measured_mb - 1) > CLAIM_TOLERANCE:
        sys.exit(f"{readme} claims {claimed_mb} MB, measured were {measured_mb:.0f} MB")


def main() -> None:
    """Install, check, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--readme", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        venv.create(environment, with_pip=True, symlinks=True)
        pip = (environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", "--quiet", arguments.wheel)
        check_program(environment)
        (packages,) = environment.glob("lib/python*/site-packages")
        sizes_mb = {path.name: disk_mb(path) for path in packages.iterdir()}
        # Every environment has pip; it is not installed with the program.
        of_pip_mb = sum(size_mb for name, size_mb in sizes_mb.items() if name == "pip" or name.startswith("pip-"))
        total_mb = disk_mb(environment) - of_pip_mb
    print("| in site-packages | MB |\n|---|--:|")
    for name, size_mb in sorted(sizes_mb.items(), key=lambda item: -item[1])[:SHOWN]:
        print(f"| {name} | {size_mb:.0f} |")
    print(f"| **the whole environment but pip** | **{total_mb:.0f}** |")
    if total_mb > LIMIT_MB:
        sys.exit(f"{total_mb:.0f} MB installed, at most {LIMIT_MB} MB are allowed")
    if arguments.readme is not None:
        check_claim(arguments.readme, total_mb)


if __name__ == "__main__":
    main()
