from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import NonCallableMock, create_autospec

import pynvml
import pytest

from llenergymeasure.core.energy.meters import NoMeter
from llenergymeasure.core.energy.nvml import BoardFacts, NvmlMeter, board_facts, memory_holders


@dataclass(frozen=True)
class Board:
    """What NVML says of one board; an exception where it refuses."""

    uuid: str
    name: str = "H100"
    energy_mj: int | Exception = 1000
    mig: int | Exception = 0
    limit_mw: int | Exception = 700_000
    processes: tuple[tuple[int, int | None], ...] | Exception = ()


H100 = {"name": "H100"}
A100 = {"name": "A100"}
V100 = {"name": "V100", "mig": pynvml.NVMLError_NotSupported()}
P100 = {
    "name": "P100",
    "mig": pynvml.NVMLError_NotSupported(),
    "energy_mj": pynvml.NVMLError_NotSupported(),
}
REAL = ("NVMLError", "NVMLError_NotSupported", "NVMLError_FunctionNotFound", "NVML_DEVICE_MIG_ENABLE")
ASKED = (
    "nvmlInit",
    "nvmlShutdown",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlSystemGetDriverVersion",
)
FOUR = [Board("GPU-aa00"), Board("GPU-aa11"), Board("GPU-bb22"), Board("GPU-cc33")]


def _fake(boards: Sequence[Board]) -> Any:
    """The module's own names and signatures over made-up boards; a board's handle is its number."""
    nvml = NonCallableMock(spec=pynvml)
    for name in REAL:
        setattr(nvml, name, getattr(pynvml, name))
    for name in ASKED:  # one by one: a spec of the whole module takes 0.1 s
        nvml.attach_mock(create_autospec(getattr(pynvml, name)), name)

    def answer(attribute: str) -> Any:
        def ask(handle: int) -> Any:
            value = getattr(boards[handle], attribute)
            if isinstance(value, Exception):
                raise value
            return value

        return ask

    nvml.nvmlDeviceGetCount.side_effect = lambda: len(boards)
    nvml.nvmlDeviceGetHandleByIndex.side_effect = lambda index: index
    nvml.nvmlDeviceGetUUID.side_effect = answer("uuid")
    nvml.nvmlDeviceGetName.side_effect = answer("name")
    nvml.nvmlDeviceGetTotalEnergyConsumption.side_effect = answer("energy_mj")
    nvml.nvmlDeviceGetEnforcedPowerLimit.side_effect = answer("limit_mw")
    nvml.nvmlDeviceGetComputeRunningProcesses.side_effect = lambda handle: [
        SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in answer("processes")(handle)
    ]
    nvml.nvmlSystemGetDriverVersion.return_value = "580.95.05"
    nvml.nvmlDeviceGetMigMode.side_effect = lambda handle: [answer("mig")(handle), 0]
    return nvml


def _uuids(boards: Sequence[Board], gpus: Sequence[int | str] | None, **environ: str) -> list[str]:
    meter = NvmlMeter.open(gpus, environ, _fake(boards))
    assert isinstance(meter, NvmlMeter), meter
    return [gpu.uuid for gpu in meter.gpus]


def _refusal(boards: Sequence[Board], gpus: Sequence[int | str] | None, **environ: str) -> str:
    nvml = _fake(boards)
    meter = NvmlMeter.open(gpus, environ, nvml)
    assert isinstance(meter, NoMeter)
    assert nvml.nvmlShutdown.call_count == nvml.nvmlInit.call_count
    return meter.reason


@pytest.mark.parametrize("model", [H100, A100, V100], ids=lambda model: model["name"])
@pytest.mark.parametrize(
    ("mask", "gpus", "uuids"),
    [
        (None, None, ["GPU-aa00", "GPU-aa11", "GPU-bb22", "GPU-cc33"]),
        (None, [2], ["GPU-bb22"]),
        (None, [3, 0], ["GPU-cc33", "GPU-aa00"]),
        (None, [1, 1, "GPU-aa11"], ["GPU-aa11"]),
        ("2,1", None, ["GPU-bb22", "GPU-aa11"]),
        ("2,1", [0], ["GPU-bb22"]),
        (" 3 , 2", [1], ["GPU-bb22"]),
        ("0,2,-1,1", None, ["GPU-aa00", "GPU-bb22"]),
        ("1,9,0", None, ["GPU-aa11"]),
        ("GPU-cc33,GPU-aa00", [0, 1], ["GPU-cc33", "GPU-aa00"]),
        ("GPU-b", [0], ["GPU-bb22"]),
        ("GPU-cc33,GPU-aa", None, ["GPU-cc33"]),
        ("1", ["GPU-cc33"], ["GPU-cc33"]),
        ("", ["GPU-bb"], ["GPU-bb22"]),
    ],
)
def test_the_boards_are_those_that_cuda_means(
    model: dict[str, Any], mask: str | None, gpus: list[int | str] | None, uuids: list[str]
) -> None:
    boards = [Board(board.uuid, **model) for board in FOUR]
    environ = {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}

    assert _uuids(boards, gpus, **environ) == uuids


@pytest.mark.parametrize(
    ("mask", "gpus", "because"),
    [
        ("", None, "CUDA shows no GPU (CUDA_VISIBLE_DEVICES='')"),
        ("-1", None, "CUDA shows no GPU (CUDA_VISIBLE_DEVICES='-1')"),
        ("2,1", [0, 2], "GPU 2 of those in CUDA_VISIBLE_DEVICES=2,1"),
        ("0,1,0", [0], "names GPU 0 twice"),
        ("0", [-1], "GPU -1"),
        ("MIG-aa00/1/0", [0], "names the slice MIG-aa00/1/0: MIG is enabled"),
        (None, [4], "the run uses GPU 4, which NVML does not show; it shows 0 (H100, GPU-aa00)"),
        (None, ["GPU-aa"], "the run uses GPU GPU-aa,"),
        (None, ["GPU-zz"], "the run uses GPU GPU-zz,"),
    ],
)
def test_no_energy_rather_than_that_of_other_boards(
    mask: str | None, gpus: list[int | str] | None, because: str
) -> None:
    environ = {} if mask is None else {"CUDA_VISIBLE_DEVICES": mask}

    assert because in _refusal(FOUR, gpus, **environ)


MIXED = [Board("GPU-aa00", **V100), Board("GPU-bb11", **H100)]


@pytest.mark.parametrize(
    ("gpus", "environ"),
    [([0], {}), ([0, 1], {}), (None, {"CUDA_VISIBLE_DEVICES": "0"}), ([0], {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"})],
)
def test_numbers_over_different_boards_need_the_bus_order(
    gpus: list[int | str] | None, environ: dict[str, str]
) -> None:
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in _refusal(MIXED, gpus, **environ)


@pytest.mark.parametrize(
    ("gpus", "environ", "uuids"),
    [
        ([0], {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, ["GPU-aa00"]),
        ([0], {"CUDA_VISIBLE_DEVICES": "GPU-bb11"}, ["GPU-bb11"]),
        (["GPU-bb11"], {}, ["GPU-bb11"]),
        (None, {}, ["GPU-aa00", "GPU-bb11"]),
    ],
)
def test_different_boards_are_fine_where_the_order_does_not_matter(
    gpus: list[int | str] | None, environ: dict[str, str], uuids: list[str]
) -> None:
    assert _uuids(MIXED, gpus, **environ) == uuids


def test_a_reading_asks_each_board_once_and_changes_nothing() -> None:
    nvml = _fake(FOUR)
    meter = NvmlMeter.open([0, 2], {}, nvml)
    before = len(nvml.mock_calls)

    reading = meter.read()

    assert [call[0] for call in nvml.mock_calls[before:]] == ["nvmlDeviceGetTotalEnergyConsumption"] * 2
    # 1000 mJ is 1 J.
    assert {name: count.value_uj for name, count in reading.counts.items()} == {
        "GPU-aa00": 1_000_000,
        "GPU-bb22": 1_000_000,
    }


@pytest.mark.parametrize(
    ("board", "because"),
    [
        pytest.param(
            Board("GPU-x", **P100), "P100 has no energy counter; GPU energy needs Volta", id="older than Volta"
        ),
        pytest.param(Board("GPU-x", mig=1), "MIG is enabled", id="MIG"),
        pytest.param(
            Board("GPU-x", energy_mj=pynvml.NVMLError_GpuIsLost()), "could not read H100 (GPU is lost)", id="lost"
        ),
    ],
)
def test_a_board_that_cannot_be_read_is_none_with_a_reason(board: Board, because: str) -> None:
    meter = NvmlMeter.open(None, {}, _fake([FOUR[0], board]) if board.name == "H100" else _fake([board]))

    count = meter.read().counts["GPU-x"]

    assert count.value_uj is None
    assert because in count.reason


def test_a_board_with_mig_is_not_even_asked() -> None:
    nvml = _fake([Board("GPU-x", mig=1)])

    NvmlMeter.open(None, {}, nvml).read()

    nvml.nvmlDeviceGetTotalEnergyConsumption.assert_not_called()


def test_a_machine_without_the_driver_says_so() -> None:
    nvml = _fake([])
    nvml.nvmlInit.side_effect = pynvml.NVMLError_LibraryNotFound()

    meter = NvmlMeter.open(None, {}, nvml)

    assert isinstance(meter, NoMeter)
    assert "NVML Shared Library Not Found" in meter.reason
    assert "driver" in meter.reason
    nvml.nvmlShutdown.assert_not_called()


def test_a_driver_that_cannot_list_its_boards_is_a_reason() -> None:
    nvml = _fake(FOUR)
    nvml.nvmlDeviceGetHandleByIndex.side_effect = pynvml.NVMLError_NoPermission()

    meter = NvmlMeter.open(None, {}, nvml)

    assert isinstance(meter, NoMeter)
    assert "could not list the GPUs (Insufficient Permissions)" in meter.reason
    nvml.nvmlShutdown.assert_called_once()


def test_a_run_on_cpu_leaves_nvml_alone() -> None:
    nvml = _fake(FOUR)

    meter = NvmlMeter.open([], {}, nvml)

    assert meter.read().reason == "the run uses no GPU"
    nvml.nvmlInit.assert_not_called()


def test_a_meter_closes_once() -> None:
    nvml = _fake(FOUR)
    meter = NvmlMeter.open(None, {}, nvml)

    meter.close()
    meter.close()

    nvml.nvmlShutdown.assert_called_once()


class TestBoardFacts:
    """Driver and power limit, which explain figures and never decide whether there are any."""

    def test_of_every_board(self) -> None:
        nvml = _fake([Board("GPU-aa00"), Board("GPU-bb22", limit_mw=350_500)])
        assert board_facts(nvml) == {
            "GPU-aa00": BoardFacts("580.95.05", 700.0),
            "GPU-bb22": BoardFacts("580.95.05", 350.5),
        }
        nvml.nvmlShutdown.assert_called_once_with()

    def test_what_nvml_refuses_is_none(self) -> None:
        nvml = _fake([Board("GPU-aa00", limit_mw=pynvml.NVMLError_NotSupported())])
        nvml.nvmlSystemGetDriverVersion.side_effect = pynvml.NVMLError_Unknown()
        assert board_facts(nvml) == {"GPU-aa00": BoardFacts(None, None)}

    def test_without_nvml_there_are_none(self) -> None:
        nvml = _fake([Board("GPU-aa00")])
        nvml.nvmlInit.side_effect = pynvml.NVMLError_LibraryNotFound()
        assert board_facts(nvml) == {}
        nvml.nvmlShutdown.assert_not_called()


class TestMemoryHolders:
    """Who stands in the way of an engine that finds a board's memory taken."""

    def test_are_told_with_how_much_of_which_board(self) -> None:
        nvml = _fake(
            [Board("GPU-aa00", processes=((7, 3 << 29), (9, None))), Board("GPU-bb22", processes=((7, 2**30),))]
        )
        assert memory_holders(nvml) == [
            "process 7 (1.5 GiB of GPU 0)",
            "process 9 (an unknown amount of GPU 0)",
            "process 7 (1.0 GiB of GPU 1)",
        ]
        nvml.nvmlShutdown.assert_called_once_with()

    def test_on_a_board_that_refuses_to_tell_are_none(self) -> None:
        nvml = _fake([Board("GPU-aa00", processes=pynvml.NVMLError_NoPermission())])
        assert memory_holders(nvml) == []
        nvml.nvmlShutdown.assert_called_once_with()

    def test_without_nvml_are_none(self) -> None:
        nvml = _fake(FOUR)
        nvml.nvmlInit.side_effect = pynvml.NVMLError_LibraryNotFound()
        assert memory_holders(nvml) == []
        nvml.nvmlShutdown.assert_not_called()
