"""Print the figures that the project promises: start-up, audits, extraction. Nothing is asserted.

python benchmarks/figures.py [--wheel transformers-….whl]
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

RUNS = 5
HEAVY = ("torch", "transformers", "scipy")


def whole_process(*command: str) -> tuple[float, float]:
    """Median wall time in s and peak memory in MiB of a program."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def imported(code: str) -> str:
    """Which heavy packages a program ends up with."""
    program = f"{code}\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", help="a transformers wheel, for the extraction figure")
    wheel = parser.parse_args().wheel
    llem = [sys.executable, "-m", "llenergymeasure.cli"]
    rows = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import llenergymeasure": [sys.executable, "-c", "import llenergymeasure"],
        "llem --help": [*llem, "--help"],
        "llem audit coverage, all versions": [*llem, "audit", "coverage"],
        "llem audit wiring --rung sent, one version": [*llem, "audit", "wiring", "pytorch", "--version", "5.23.0"],
        "llem docs check": [*llem, "docs", "check"],
    }
    if wheel:
        rows["surface extract, one wheel"] = [*llem, "surface", "extract", "pytorch", "--wheel", wheel]
    for name, command in rows.items():
        seconds, peak = whole_process(*command)
        print(f"{name:45} {seconds:6.2f} s   (peak so far {peak:.0f} MiB)")
    print("heavy packages after import llenergymeasure:", imported("import llenergymeasure"))
    print("heavy packages after importing the command line:", imported("import llenergymeasure.cli"))


if __name__ == "__main__":
    main()
