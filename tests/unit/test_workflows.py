"""What the workflows on GitHub promise: what runs where, for whom, with which rights, and for how long."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from llenergymeasure.cli.matrix import app
from llenergymeasure.matrix.spec import BACKENDS, PLATFORMS, load

ROOT = Path(__file__).parents[2]
# The base loader leaves `on` a word and numbers texts.
WORKFLOWS: dict[str, dict[str, Any]] = {
    path.name: yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - makes nothing but texts
    for path in sorted((ROOT / ".github/workflows").iterdir())
}
JOBS = [(file, name) for file, workflow in WORKFLOWS.items() for name in workflow["jobs"]]
HOSTED = "ubuntu-24.04"
OWN = [(file, name) for file, name in JOBS if WORKFLOWS[file]["jobs"][name]["runs-on"] != HOSTED]
SPEC = load(ROOT / "matrix.toml")

every_workflow = pytest.mark.parametrize("file", WORKFLOWS)
every_job = pytest.mark.parametrize(("file", "name"), JOBS)
every_own_job = pytest.mark.parametrize(("file", "name"), OWN)


def steps(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(job["steps"])


def script(file: str, job: str, step: str) -> str:
    [found] = [one for one in steps(WORKFLOWS[file]["jobs"][job]) if step in (one.get("name"), one.get("id"))]
    return str(found["run"])


def scripts(file: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for job in WORKFLOWS[file]["jobs"].values():
        yield from ((job, step) for step in steps(job) if "run" in step)


# Pins and rights


@every_workflow
def test_every_action_is_pinned_to_the_commit_of_a_named_release(file: str) -> None:
    text = (ROOT / ".github/workflows" / file).read_text()
    uses = re.findall(r"^.*\buses:.*$", text, re.MULTILINE)
    wrong = [line for line in uses if not re.search(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)]
    assert uses
    assert wrong == []


def test_an_action_has_one_pin_in_all_workflows() -> None:
    pins: dict[str, set[str]] = {}
    for path in (ROOT / ".github/workflows").iterdir():
        for action, pin in re.findall(r"uses: ([^@\s]+)@(.+)", path.read_text()):
            pins.setdefault(action, set()).add(pin)
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}


@every_workflow
def test_nobody_else_s_event_starts_it(file: str) -> None:
    triggers = WORKFLOWS[file]["on"]
    assert set(triggers) <= {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert triggers.get("push", {"branches": ["main"]}) == {"branches": ["main"]}


@every_job
def test_a_job_may_read_the_repository_at_most_unless_it_is_said_here(file: str, name: str) -> None:
    more: dict[tuple[str, str], dict[str, str]] = {
        ("matrix.yml", "publish"): {"pages": "write", "id-token": "write"},
        ("upgrade.yml", "comment"): {"pull-requests": "write"},
    }
    job = WORKFLOWS[file]["jobs"][name]
    assert WORKFLOWS[file]["permissions"] == {}
    assert job["permissions"] in (more.get((file, name)), {}, {"contents": "read"})
    if (file, name) in more:
        used = [step.get("uses", "").partition("@")[0] for step in steps(job)]
        assert "actions/checkout" not in used, "a job that can write runs no code of the checkout"


@every_workflow
def test_a_checkout_leaves_no_token_behind_and_no_secret_is_used(file: str) -> None:
    for job in WORKFLOWS[file]["jobs"].values():
        for step in steps(job):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] == "false"
    assert "secrets." not in (ROOT / ".github/workflows" / file).read_text()


@every_workflow
def test_what_others_write_reaches_a_shell_only_as_a_variable_and_a_failed_pipe_fails(file: str) -> None:
    assert [step["run"] for _, step in scripts(file) if "${{" in step["run"]] == []
    assert WORKFLOWS[file]["defaults"]["run"]["shell"] == "bash"


@every_job
def test_every_job_has_an_end(file: str, name: str) -> None:
    job = WORKFLOWS[file]["jobs"][name]
    minutes = int(job["timeout-minutes"])
    assert 0 < minutes <= 360
    if any(" cell -- " in step.get("run", "") for step in steps(job)):
        longest_s = max(cell.deadline_s for cell in SPEC.cells)
        assert minutes * 60 >= longest_s + 1800, "building the cell's image comes on top of its deadline"


# The GPU


def evaluate(expression: str, facts: Mapping[str, Any]) -> Any:
    """A GitHub expression of names, texts, numbers, format() and operators; a name that `facts` lacks is an error."""
    inner = expression.strip().removeprefix("${{").removesuffix("}}")

    def in_python(match: re.Match[str]) -> str:
        token = match[0]
        words = {"&&": " and ", "||": " or ", "!": " not ", "cancelled()": "False", "format": "fill"}
        return words.get(token) or (token if token.startswith("'") else f"facts[{token!r}]")

    names = r"(?:github|vars|needs|matrix)(?:\.[\w-]+)+"
    python = re.sub(rf"'[^']*'|{names}|&&|\|\||!(?!=)|cancelled\(\)|\bformat\b", in_python, inner)
    scope = {"facts": facts, "fill": lambda text, *values: text.format(*values)}
    return eval(" ".join(python.split()), {"__builtins__": {}}, scope)  # noqa: S307 - this repository's own text


OURS, FORK = "owner/llenergymeasure", "stranger/llenergymeasure"


def facts(
    event: str, head: str = "", approval: str = "skipped", runners: int = 1, cells: str = "[{}]"
) -> dict[str, Any]:
    return {
        "github.event_name": event,
        "github.repository": OURS,
        "github.event.pull_request.head.repo.full_name": head,
        "vars.GPU_RUNNERS": runners,
        "needs.approve.result": approval,
        **{f"needs.{job}.result": "success" for job in ("cells", "proposed")},
        **{f"needs.{job}.outputs.cuda": cells for job in ("cells", "proposed")},
        "matrix.cell.name": "a-cell",
        "matrix.proposed.backend": "vllm",
        "matrix.proposed.version": "1.0.0",
    }


def test_the_jobs_on_machines_of_our_own_are_these() -> None:
    assert OWN == [("matrix.yml", "gpu"), ("upgrade.yml", "gpu")]
    labels = yaml.safe_load((ROOT / ".github/actionlint.yaml").read_text())["self-hosted-runner"]["labels"]
    for file, name in OWN:
        assert WORKFLOWS[file]["jobs"][name]["runs-on"] == ["self-hosted", "linux", "x64", *labels]


@every_own_job
@pytest.mark.parametrize(
    ("situation", "runs"),
    [
        (facts("push"), True),
        (facts("schedule"), True),
        (facts("workflow_dispatch"), True),
        (facts("pull_request", OURS, "success"), True),
        (facts("pull_request", OURS, "skipped"), False),
        (facts("pull_request", OURS, "failure"), False),
        (facts("pull_request", FORK, "skipped"), False),
        (facts("pull_request", FORK, "success"), False),
        (facts("push", runners=0), False),
        (facts("push", cells="[]"), False),
    ],
    ids=lambda value: None if isinstance(value, bool) else "-".join(map(str, list(value.values())[:5:2])),
)
def test_the_gpu_runs_this_repository_s_code_and_a_pull_request_s_once_it_is_approved(
    file: str, name: str, situation: dict[str, Any], runs: bool
) -> None:
    job = WORKFLOWS[file]["jobs"][name]
    assert "approve" in job["needs"]
    assert bool(evaluate(job["if"], situation)) is runs


@pytest.mark.parametrize("file", sorted({file for file, _ in OWN}))
@pytest.mark.parametrize(
    ("situation", "asked"),
    [
        (facts("pull_request", OURS), True),
        (facts("pull_request", FORK), False),
        (facts("push"), False),
        (facts("pull_request", OURS, runners=0), False),
        (facts("pull_request", OURS, cells="[]"), False),
    ],
)
def test_approval_is_asked_for_where_it_opens_something(file: str, situation: dict[str, Any], asked: bool) -> None:
    job = WORKFLOWS[file]["jobs"]["approve"]
    assert bool(evaluate(job["if"], situation)) is asked
    assert job["environment"] == "gpu"
    assert job["runs-on"] == HOSTED


@every_own_job
def test_one_gpu_runs_one_cell_and_none_that_waits_is_dropped(file: str, name: str) -> None:
    queue = WORKFLOWS[file]["jobs"][name]["concurrency"]
    assert {key: queue[key] for key in ("cancel-in-progress", "queue")} == {
        "cancel-in-progress": "false",
        "queue": "max",
    }
    groups = [evaluate(queue["group"], facts("push", runners=number)) for number in (0, 1, 2)]
    assert groups[:2] == ["gpu", "gpu"]
    assert groups[2].startswith("gpu-")


def test_a_proposed_version_meets_the_code_of_main() -> None:
    for name, job in WORKFLOWS["upgrade.yml"]["jobs"].items():
        checkouts = [step["with"] for step in steps(job) if step.get("uses", "").startswith("actions/checkout@")]
        for given in checkouts:
            if "path" not in given:
                assert given["ref"] == "${{ github.event.pull_request.base.sha || github.sha }}", name
            else:
                assert given["sparse-checkout"] == "matrix.toml"


def test_the_guide_to_a_gpu_runner_speaks_of_what_is_there() -> None:
    text = (ROOT / "docs/gpu-runner.md").read_text()
    labels = [WORKFLOWS[file]["jobs"][name]["runs-on"] for file, name in OWN]
    assert all(f"labels[]={label}" in text for label in labels[0])
    assert f"--labels {labels[0][-1]} --ephemeral" in text
    for word in ("GPU_RUNNERS", "an environment `gpu`"):
        assert word in text
    named = set(re.findall(r"\b[a-z]+-\d[\w.]*-c(?:uda|pu)\b", text))
    named |= {f"{backend}-{cell}" for backend, cell in re.findall(r"\b([a-z]+)\(([\d.]+-cuda)\)", text)}
    assert named
    assert named <= {cell.name for cell in SPEC.cells}


# What they call


def sessions() -> set[str]:
    """The sessions of noxfile.py by their functions' names."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name for node in functions if any("nox.session" in ast.unparse(one) for one in node.decorator_list)}


def called_sessions(file: str) -> set[str]:
    found = set()
    for _, step in scripts(file):
        for line in re.findall(r"bootstrap\.py (.+)", step["run"]):
            words = line.partition(" -- ")[0].replace('"', "").split()
            found |= {re.sub(r"-\$PYTHON$", "", word) for word in words}
    return found


@every_workflow
def test_the_sessions_that_it_calls_are_there(file: str) -> None:
    called = called_sessions(file)
    assert called
    assert called - sessions() == set()


def test_every_check_that_needs_no_backend_is_called() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    checks = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("'check'" in ast.unparse(one) for one in node.decorator_list)
    }
    assert called_sessions("checks.yml") == checks


def test_the_tests_run_on_every_python_that_the_sessions_know() -> None:
    pythons = WORKFLOWS["checks.yml"]["jobs"]["tests"]["strategy"]["matrix"]["python"]
    text = (ROOT / "noxfile.py").read_text()
    [known] = re.findall(r"for version in \(([^)]+)\) if _present", text)
    assert pythons == re.findall(r'"([\d.]+)"', known)


def llem_calls() -> list[tuple[str, str, str]]:
    """Each call of llem, and of a session that hands its arguments on, by its verb under `llem matrix`."""
    handing_on = {"cell": "run", "upgrade": "upgrade"}
    found = []
    for file in WORKFLOWS:
        for _, step in scripts(file):
            found += [(file, *call) for call in re.findall(r"bin/llem matrix ([a-z]+)([^|\n]*)", step["run"])]
            for session, rest in re.findall(r"bootstrap\.py ([a-z]+) -- (.+)", step["run"]):
                found.append((file, handing_on[session], f" {rest}"))
    return found


@pytest.mark.parametrize(("file", "verb", "rest"), llem_calls())
def test_llem_has_the_verbs_and_options_that_they_call(file: str, verb: str, rest: str) -> None:
    group = typer.main.get_command(app)
    command = group.commands[verb]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest)) - known == set(), file


def test_both_fan_out_from_matrix_toml_and_from_nothing_else() -> None:
    for file, source in (("matrix.yml", "cells"), ("upgrade.yml", "proposed")):
        workflow = WORKFLOWS[file]
        assert "llem matrix list" in script(file, source, "list")
        for name, job in workflow["jobs"].items():
            for values in job.get("strategy", {}).get("matrix", {}).values():
                assert re.fullmatch(rf"\$\{{\{{ fromJSON\(needs\.{source}\.outputs\.\w+\) \}}\}}", values), name
        text = re.sub(r"uses:.*", "", (ROOT / ".github/workflows" / file).read_text())
        assert [cell.version for cell in SPEC.cells if cell.version in text] == []


def test_by_hand_every_backend_and_platform_can_be_asked_for() -> None:
    inputs = WORKFLOWS["upgrade.yml"]["on"]["workflow_dispatch"]["inputs"]
    assert inputs["backend"]["options"] == list(BACKENDS)
    assert inputs["platform"]["options"] == list(PLATFORMS)


def test_no_cell_hides_another_one_s_failure() -> None:
    for file, name in JOBS:
        job = WORKFLOWS[file]["jobs"][name]
        if "strategy" in job:
            assert job["strategy"]["fail-fast"] == "false", (file, name)
        assert "continue-on-error" not in str(job)
        assert not any("|| true" in step.get("run", "") for step in steps(job))
    for name in ("cpu", "gpu"):
        [record] = [
            step for step in steps(WORKFLOWS["matrix.yml"]["jobs"][name]) if step.get("name") == "Keep the record"
        ]
        assert record["with"]["if-no-files-found"] == "error"
