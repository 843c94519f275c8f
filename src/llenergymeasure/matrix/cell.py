"""The program that runs inside a cell: both audits against the installed backend, then the integration tests.

It needs the checkout as its working folder, writes what it found to `part.json` after every step, and nothing else.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from llenergymeasure.matrix import host, journal, junit
from llenergymeasure.matrix.records import Outcome, case_row, one_line, write_text
from llenergymeasure.matrix.runners.base import JUNIT, PART, WIRING
from llenergymeasure.matrix.runners.process import Ended, oom_kills_so_far

Part = dict[str, Any]
# Where an image keeps the list of all packages in it.
SBOM = "LLEM_SBOM"
# Where an image keeps what packages look for, once compiled, in the folder for temporary files.
KERNELS = "LLEM_KERNELS"


def run(backend: str, checkout: Path, out_dir: Path, llem: Sequence[str], tests: Sequence[str] = ()) -> Part:
    """Everything a cell can say about itself; the part is on disk after each step.

    With `tests`, exactly these are run, and no audits.
    """
    part: Part = {"finished": False, **_facts(), "audits": {}, "tests": {}, "problems": []}
    audits = {
        "coverage": ["audit", "coverage", backend, "--installed", "--format", "json"],
        "wiring": [
            *("audit", "wiring", backend, "--rung", "accepted", "--installed", "--format", "json"),
            *("--junit", str(out_dir / WIRING)),
        ],
    }
    for name, arguments in audits.items() if not tests else ():
        part["audits"][name] = _audit([*llem, *arguments], name, checkout)
        _save(part, checkout, out_dir)
    part["tests"], part["problems"] = _tests(checkout / "tests" / "integration" / backend, checkout, out_dir, tests)
    part["finished"] = True
    _save(part, checkout, out_dir)
    return part


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m llenergymeasure.matrix.cell")
    parser.add_argument("name", help="the cell, such as pytorch-5.23.0-cpu")
    parser.add_argument("--out", type=Path, required=True, help="the folder for what it finds")
    parser.add_argument("--test", nargs="+", default=[], help="run exactly these tests, by node id, and no audits")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    _take_from_image(os.environ, arguments.out)
    llem = str(Path(sys.executable).with_name("llem"))
    part = run(arguments.name.partition("-")[0], Path.cwd(), arguments.out.resolve(), [llem], arguments.test)
    outcomes = [row["outcome"] for group in ("audits", "tests") for row in part[group].values()]
    return 1 if part["problems"] or any(Outcome(outcome).bad for outcome in outcomes) else 0


def _take_from_image(environ: Mapping[str, str], out_dir: Path) -> None:
    """What an image brings for a run: the list of its packages, and what packages would compile anew."""
    if listed := environ.get(SBOM):
        shutil.copyfile(listed, out_dir / Path(listed).name)
    if compiled := environ.get(KERNELS):
        for file in Path(compiled).iterdir():
            # With its time, by which it is seen that it need not be compiled; not the folder's, which is another's.
            shutil.copy2(file, Path(tempfile.gettempdir()) / file.name)


def _facts() -> Part:
    packages = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return {"packages": packages, **host.versions(), "host": asdict(host.facts())}


def _audit(argv: Sequence[str], name: str, checkout: Path) -> dict[str, Any]:
    """An audit is green only if it ended with 0 and gave its report."""
    _say(f"audit {name}")
    try:
        done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)
    except OSError as error:
        return _audit_row(Outcome.ERROR, f"could not be started: {error.strerror}")
    if done.stderr:
        _say(done.stderr.rstrip())
    crash = Ended(done.returncode, timed_out=False, duration_s=0).crash
    if crash:
        return _audit_row(Outcome.CRASH, crash)
    report, problem = _object(done.stdout)
    if done.returncode not in (0, 1):
        problem = f"ended with exit code {done.returncode}"
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if problem:
        words = errors or done.stderr.split("\n")[-2:]
        return _audit_row(Outcome.ERROR, one_line(": ".join([problem, *words])))
    if done.returncode == 1:
        return _audit_row(Outcome.FAILED, one_line(f"{len(errors)} findings: {'; '.join(errors)}"), report)
    return _audit_row(Outcome.PASSED, "", report)


def _object(text: str) -> tuple[dict[str, Any] | None, str]:
    try:
        document = json.loads(text)
    except ValueError as error:
        return None, f"gave no JSON: {error}"
    return (document, "") if isinstance(document, dict) else (None, "gave JSON that is no object")


def _audit_row(outcome: Outcome, reason: str, report: dict[str, Any] | None = None) -> dict[str, Any]:
    _say(f"  {outcome}{': ' + reason if reason else ''}")
    return {"outcome": outcome, "reason": reason, "report": report}


def _tests(folder: Path, checkout: Path, out_dir: Path, chosen: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    if not folder.is_dir():
        return {}, [f"{folder.relative_to(checkout)}: no such folder"]
    _say(f"{f'{len(chosen)} ' if chosen else ''}tests in {folder.relative_to(checkout)}")
    xml, notes, scratch = out_dir / JUNIT, out_dir / journal.FILE, out_dir / "tmp"
    argv = [
        *(sys.executable, "-m", "pytest", *(chosen or [str(folder.relative_to(checkout))]), "--tb=short"),
        # The node id's file is in the older family only; nothing may be written into the checkout.
        *(f"--junitxml={xml}", "-o", "junit_family=xunit1", "-p", "no:cacheprovider", f"--basetemp={scratch}"),
        *("-p", "llenergymeasure.matrix.journal"),
    ]
    oom_before = oom_kills_so_far()
    done = subprocess.run(argv, cwd=checkout, env={**os.environ, journal.VARIABLE: str(notes)}, check=False)
    shutil.rmtree(scratch, ignore_errors=True)
    oom_kills = oom_kills_so_far() - oom_before
    crash = Ended(done.returncode, timed_out=False, duration_s=0, oom_kills=oom_kills).crash
    if crash:
        cases = journal.cases(notes, running=Outcome.CRASH, reason=crash)
        return {name: case_row(case) for name, case in cases.items()}, [f"pytest was {crash}"]
    report = junit.read(xml)
    rows = {name: case_row(case) for name, case in report.cases.items()}
    problems = list(report.problems)
    any_bad = any(case.outcome.bad for case in report.cases.values())
    if done.returncode not in (0, 1) or (done.returncode == 1 and not any_bad):
        problems.append(f"pytest ended with exit code {done.returncode}")
    if not rows:
        problems.append("no test ran")
    return rows, problems


def _save(part: Part, checkout: Path, out_dir: Path) -> None:
    write_text(scrub(json.dumps(part, indent=1), _places(checkout, out_dir)), out_dir / PART)


def _places(checkout: Path, out_dir: Path) -> dict[str, str]:
    """Folders of this machine, and what stands for them in a record that others read."""
    return {
        str(out_dir): "OUT",
        sys.prefix: "VENV",
        sys.base_prefix: "PYTHON",
        str(checkout): ".",
        str(Path.home()): "~",
        tempfile.gettempdir(): "TMP",
    }


def scrub(text: str, places: Mapping[str, str]) -> str:
    """Replace each folder by its name, the deepest first."""
    for folder, name in sorted(places.items(), key=lambda item: -len(item[0])):
        # A folder such as / or /usr says nothing of this machine, and stands in other words.
        if folder != "/" and (folder.count("/") > 1 or folder in (str(Path.home()), tempfile.gettempdir())):
            text = re.sub(rf"(?<![\w.-]){re.escape(folder)}(?![\w-])", name, text)
    return text


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
