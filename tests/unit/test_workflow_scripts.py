"""The scripts in the workflows and in the guide to a GPU runner, run as a job runs them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llenergymeasure.matrix.spec import load

ROOT = Path(__file__).parents[2]
SPEC = load(ROOT / "matrix.toml")


def script(file: str, job: str, step: str) -> str:
    workflow = yaml.load((ROOT / ".github/workflows" / file).read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - texts
    [found] = [one for one in workflow["jobs"][job]["steps"] if step in (one.get("name"), one.get("id"))]
    return str(found["run"])


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder as a job has it after its checkout and the installation of llem."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    shutil.copy(ROOT / "matrix.toml", tmp_path)
    shutil.copytree(ROOT / "docs/records", tmp_path / "docs/records")
    (tmp_path / "build/llem/bin").mkdir(parents=True)
    llem = Path(sys.executable).with_name("llem")
    (tmp_path / "build/llem/bin/llem").symlink_to(llem)
    return tmp_path


def run(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    files = {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    argv = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text]
    environment = os.environ | files | environment
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("due", ["cpu ", "cpu cuda"])
def test_a_cell_that_was_to_run_and_left_no_record_is_not_shown_by_its_old_one(job: Path, due: str) -> None:
    for cell in SPEC.cells:
        (job / f"docs/records/{cell.name}.json").write_text("old")
    first = SPEC.of(platform="cpu")[0].name
    (job / "build/new").mkdir()
    (job / f"build/new/{first}.json").write_text("new")
    done = run(script("matrix.yml", "merge", "Put the new records in the place of the old ones"), job, DUE=due)
    assert done.returncode == 0, done.stderr
    shown = {path.stem: path.read_text() for path in (job / "build/site/records").glob("*.json")}
    kept = {} if "cuda" in due else {cell.name: "old" for cell in SPEC.of(platform="cuda")}
    assert shown == kept | {first: "new"}


def test_the_summary_has_what_changed_and_a_loss_is_a_warning(job: Path) -> None:
    text = script("matrix.yml", "merge", "Say what changed")
    shutil.copytree(job / "docs/records", job / "build/new", ignore=shutil.ignore_patterns("history"))
    same = run(text, job)
    assert (same.returncode, same.stdout) == (0, "")
    path = next((job / "build/new").glob("*.json"))
    record = json.loads(path.read_text())
    name = next(name for name, case in record["tests"].items() if case["outcome"] == "passed")
    record["tests"][name]["outcome"] = "failed"
    path.write_text(json.dumps(record))
    lost = run(text, job)
    assert lost.returncode == 0
    assert lost.stdout.startswith("::warning::")
    assert "| regressed |" in (job / "summary").read_text()


def test_records_that_cannot_be_compared_fail_the_job(job: Path) -> None:
    (job / "build/new").mkdir()
    assert run(script("matrix.yml", "merge", "Say what changed"), job).returncode == 2


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"VERSION": ""}, {"versions": [("vllm", "99.0.0")], "cpu": [], "cuda": [("vllm", "99.0.0")]}),
        (
            {"BACKEND": "pytorch", "VERSION": "98.0.0", "PLATFORM": "cpu"},
            {"versions": [("pytorch", "98.0.0")], "cpu": [("pytorch", "98.0.0")], "cuda": []},
        ),
    ],
)
def test_what_is_proposed_is_what_main_does_not_pin(
    job: Path, environment: dict[str, str], expected: dict[str, list[tuple[str, str]]]
) -> None:
    if shutil.which("jq") is None:
        pytest.skip("needs jq")
    newest = SPEC.of("vllm", "cuda")[-1]
    (job / "build/proposed").mkdir()
    text = (ROOT / "matrix.toml").read_text()
    (job / "build/proposed/matrix.toml").write_text(text.replace(f'"{newest.version}"', '"99.0.0"'))
    done = run(script("upgrade.yml", "proposed", "list"), job, **environment)
    assert done.returncode == 0, done.stderr
    lines = (job / "output").read_text().splitlines()
    found = {key: json.loads(value) for key, _, value in (line.partition("=") for line in lines)}
    assert {key: [(row["backend"], row["version"]) for row in rows] for key, rows in found.items()} == expected


def test_both_lists_of_cells_reach_the_jobs(job: Path) -> None:
    done = run(script("matrix.yml", "cells", "list"), job)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("=", 1) for line in (job / "output").read_text().splitlines())
    for platform in ("cpu", "cuda"):
        names = [cell["name"] for cell in json.loads(lines[platform])]
        assert names == [cell.name for cell in SPEC.of(platform=platform)]


def test_the_comment_has_every_report_as_far_as_a_comment_can(job: Path) -> None:
    for name, text in (("b", "second"), ("a", "first \u00e9")):
        (job / f"reports/report-{name}").mkdir(parents=True)
        (job / f"reports/report-{name}/report.md").write_text(f"# {text}\n")
    (job / "gh").write_text('#!/bin/sh\necho "$@" > called\n')
    (job / "gh").chmod(0o755)
    given = {
        "PATH": f"{job}:{os.environ['PATH']}",
        "PULL_REQUEST": "7",
        "REPOSITORY": "owner/llenergymeasure",
        "RUN": "https://a-run",
    }
    text = script("upgrade.yml", "comment", "comment")
    done = run(text, job, **given)
    assert done.returncode == 0, done.stderr
    assert (
        (job / "called")
        .read_text()
        .startswith("pr comment 7 --repo owner/llenergymeasure --edit-last --create-if-none --body-file")
    )
    assert (job / "shown.md").read_text().splitlines()[2:] == ["# first \u00e9", "# second"]
    (job / "reports/report-a/report.md").write_text("\u00e9" * 70_000)
    assert run(text, job, **given).returncode == 0
    assert len((job / "shown.md").read_text()) == 60_000


def test_the_slurm_script_of_the_guide_asks_for_the_cell_of_its_number(job: Path) -> None:
    [text] = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/gpu-runner.md").read_text(), re.DOTALL)
    (job / "bootstrap.py").write_text("import sys; print(sys.argv[1:])")
    (job / "cells.txt").write_text("one\ntwo\nthree\n")
    for argv in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]):
        subprocess.run(["git", *argv], cwd=job, check=True, capture_output=True)
    done = run(text, job, SLURM_ARRAY_TASK_ID="2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(["cell", "--", "two", "-o", f"{job}/records"])
