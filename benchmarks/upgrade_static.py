"""Time of `llem matrix upgrade --static` with the wheel at hand, a whole process with Python's own start-up.

Run in the checkout as `python benchmarks/upgrade_static.py BACKEND VERSION OLD WHEEL [RUNS]`.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time


def main(backend: str, version: str, old: str, wheel: str, runs: int) -> None:
    arguments = ["matrix", "upgrade", backend, version, "--from", old, "--wheel", wheel, "--static"]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(runs):
            start = time.perf_counter()
            argv = [sys.executable, "-m", "llenergymeasure.cli", *arguments, "--output", folder]
            done = subprocess.run(argv, check=False, capture_output=True, text=True)
            times.append(time.perf_counter() - start)
            if done.returncode not in (0, 1):
                sys.exit(done.stderr)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout.splitlines()[0])
    print(f"time: median {sorted(times)[runs // 2]:.2f} s, worst {max(times):.2f} s over {runs} runs (target 3 s)")
    cpu_s, load = (used.ru_utime + used.ru_stime) / runs, os.getloadavg()[0]
    print(f"processor time: {cpu_s:.2f} s a run; load of the machine {load:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main(*sys.argv[1:5], runs=int(sys.argv[5]) if len(sys.argv) > 5 else 5)
