"""Time and peak memory of extracting one wheel's surface, a whole process with Python's own start-up.

Run as `python benchmarks/extraction.py WHEEL [RUNS]`.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

_CHILD = """
import sys
from pathlib import Path
from llenergymeasure.surface.extract import from_wheel
from llenergymeasure.surface.model import to_json
from llenergymeasure.surface.packages import BACKENDS, packages
from llenergymeasure.surface.sources import wheel_identity
wheel = Path(sys.argv[1])
name, _ = wheel_identity(wheel)
backend = next(b for b in BACKENDS for package in packages(b).values() if name in package.distributions)
surface = from_wheel(backend, wheel)
print(len(to_json(surface)), len(surface.entry_points), len(surface.parameters()))
"""


def main(wheel: Path, runs: int) -> None:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _CHILD, str(wheel)], check=True, capture_output=True, text=True)
        times.append(time.perf_counter() - start)
    size, points, parameters = done.stdout.split()
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    print(f"{wheel.name}: {points} entry points, {parameters} parameters, {size} bytes of JSON")
    print(
        f"time: median {sorted(times)[len(times) // 2]:.2f} s, worst {max(times):.2f} s over {runs} runs (target 1 s)"
    )
    print(f"peak memory: {peak_mib:.0f} MiB (target 120 MB)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5)
