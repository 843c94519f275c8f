"""GPU energy from the running counter that NVIDIA drivers keep for each board; settings of the board are never touched.

Which boards count is decided as CUDA decides it, because NVML itself knows nothing of CUDA_VISIBLE_DEVICES.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from llenergymeasure.core.energy.meters import Count, Meter, NoMeter, Reading

NO_GPU_IN_USE = "the run uses no GPU"
NO_SLICE_ENERGY = "MIG is enabled and NVML counts energy for the whole board only; use a GPU with MIG off"


@dataclass(frozen=True)
class Gpu:
    """One board as NVML names it; `index` counts in PCI bus order, as nvidia-smi does."""

    index: int
    uuid: str
    name: str
    handle: Any
    mig: bool


@dataclass(frozen=True)
class BoardFacts:
    """What a reader of joules must know of a board; None where NVML does not say."""

    driver: str | None
    power_limit_w: float | None


def board_facts(nvml: Any = None) -> dict[str, BoardFacts]:
    """Driver and power limit in force of every board by its UUID; empty where NVML does not answer."""
    nvml = import_module("pynvml") if nvml is None else nvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return {}
    facts = {}
    try:
        with suppress(nvml.NVMLError):
            driver = _or_none(nvml, nvml.nvmlSystemGetDriverVersion)
            for board in _boards(nvml):
                limit_mw = _or_none(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, board.handle)
                facts[board.uuid] = BoardFacts(driver, None if limit_mw is None else limit_mw / 1000)
    finally:
        _shut_down(nvml)
    return facts


def _or_none(nvml: Any, ask: Any, *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except nvml.NVMLError:
        return None


def visible_boards(environ: Mapping[str, str], nvml: Any = None) -> list[tuple[Gpu, float]]:
    """Every board that CUDA shows in this environment, with its memory in GiB; empty where NVML does not answer."""
    nvml = import_module("pynvml") if nvml is None else nvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return []
    try:
        with suppress(nvml.NVMLError):
            chosen = _choose(_boards(nvml), None, environ)
            if not isinstance(chosen, str):
                return [(gpu, nvml.nvmlDeviceGetMemoryInfo(gpu.handle).total / 2**30) for gpu in chosen]
        return []
    finally:
        _shut_down(nvml)


def memory_holders(nvml: Any = None) -> list[str]:
    """Which processes hold how much of which board's memory, as far as NVML tells; empty where it does not answer."""
    nvml = import_module("pynvml") if nvml is None else nvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return []
    found = []
    try:
        with suppress(nvml.NVMLError):
            for board in _boards(nvml):
                for process in nvml.nvmlDeviceGetComputeRunningProcesses(board.handle):
                    used = process.usedGpuMemory
                    amount = "an unknown amount" if used is None else f"{used / 2**30:.1f} GiB"
                    found.append(f"process {process.pid} ({amount} of GPU {board.index})")
    finally:
        _shut_down(nvml)
    return found


class NvmlMeter:
    """Energy counters of a fixed set of boards (Volta or newer), each read once per call: about 4 ms a board."""

    def __init__(self, nvml: Any, gpus: Sequence[Gpu]) -> None:
        self._nvml = nvml
        self.gpus = tuple(gpus)
        self._is_open = True

    @classmethod
    def open(cls, gpus: Sequence[int | str] | None, environ: Mapping[str, str], nvml: Any = None) -> Meter:
        """A meter over the boards in use.

        Args:
            gpus: CUDA ordinals of this process (`0` for `cuda:0`) or board UUIDs (`GPU-…`, a unique beginning is
                enough); None for every GPU that CUDA shows.
            environ: where CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are looked up.
            nvml: the pynvml module, imported when None.
        """
        if gpus is not None and not gpus:
            return NoMeter(NO_GPU_IN_USE)
        nvml = import_module("pynvml") if nvml is None else nvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            return NoMeter(f"NVML does not answer ({error}); GPU energy needs an NVIDIA GPU and its driver")
        try:
            boards = _boards(nvml)
            chosen = _choose(boards, gpus, environ)
        except nvml.NVMLError as error:
            chosen = f"NVML could not list the GPUs ({error})"
        except BaseException:
            _shut_down(nvml)
            raise
        if isinstance(chosen, str):
            _shut_down(nvml)
            return NoMeter(chosen)
        return cls(nvml, chosen)

    def read(self) -> Reading:
        return Reading({gpu.uuid: self._count(gpu) for gpu in self.gpus})

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            _shut_down(self._nvml)

    def _count(self, gpu: Gpu) -> Count:
        if gpu.mig:
            return Count(None, NO_SLICE_ENERGY)
        try:
            return Count(self._nvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle) * 1000)
        except self._nvml.NVMLError_NotSupported:
            return Count(None, f"{gpu.name} has no energy counter; GPU energy needs Volta or newer, not virtualised")
        except self._nvml.NVMLError as error:
            return Count(None, f"NVML could not read {gpu.name} ({error})")


def visible_devices(value: str | None, boards: Sequence[Gpu]) -> list[Gpu] | str:
    """The boards that CUDA shows for a value of CUDA_VISIBLE_DEVICES, in CUDA's order, or why that cannot be told.

    As CUDA's programming guide defines it: unset shows all, empty none, and the list ends at the first entry that names
    no board.
    """
    if value is None:
        return list(boards)
    shown: list[Gpu] = []
    for entry in (part.strip() for part in value.split(",")):
        if entry.startswith("MIG-"):
            return f"CUDA_VISIBLE_DEVICES names the slice {entry}: {NO_SLICE_ENERGY}"
        board = _named(entry, boards)
        if board is None:
            break
        if board in shown:
            return f"CUDA_VISIBLE_DEVICES={value} names GPU {entry} twice, and CUDA then shows none"
        shown.append(board)
    return shown


def _named(entry: str, boards: Sequence[Gpu]) -> Gpu | None:
    """The one board of this index or beginning of a UUID."""
    if entry.isascii() and entry.isdigit():
        return next((board for board in boards if board.index == int(entry)), None)
    if not entry.startswith("GPU-"):
        return None
    matches = [board for board in boards if board.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _choose(boards: Sequence[Gpu], wanted: Sequence[int | str] | None, environ: Mapping[str, str]) -> list[Gpu] | str:
    """The boards in use, each once, or why they cannot be told."""
    mask = environ.get("CUDA_VISIBLE_DEVICES")
    by_ordinal = wanted is None or any(isinstance(gpu, int) for gpu in wanted)
    visible = visible_devices(mask, boards) if by_ordinal else []
    if isinstance(visible, str):
        return visible
    every_board = wanted is None and mask is None
    if by_ordinal and not every_board and _numbers_mislead(boards, mask, environ):
        return "the GPUs differ and CUDA numbers the fastest first; set CUDA_DEVICE_ORDER=PCI_BUS_ID before the run"
    chosen: dict[str, Gpu] = {}
    for gpu in range(len(visible)) if wanted is None else wanted:
        board = _named(gpu, boards) if isinstance(gpu, str) else visible[gpu] if 0 <= gpu < len(visible) else None
        if board is None:
            shown = "" if isinstance(gpu, str) or mask is None else f" of those in CUDA_VISIBLE_DEVICES={mask}"
            return f"the run uses GPU {gpu}{shown}, which NVML does not show; it shows {_listed(boards)}"
        chosen[board.uuid] = board
    return list(chosen.values()) or f"CUDA shows no GPU (CUDA_VISIBLE_DEVICES={mask!r}); NVML shows {_listed(boards)}"


def _numbers_mislead(boards: Sequence[Gpu], mask: str | None, environ: Mapping[str, str]) -> bool:
    """Whether CUDA's numbers may point to other boards than NVML's: it sorts by speed unless told to sort by bus."""
    by_number = mask is None or not mask.strip().startswith("GPU-")
    return by_number and len({board.name for board in boards}) > 1 and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"


def _boards(nvml: Any) -> list[Gpu]:
    return [_board(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]


def _board(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    try:
        mig = nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):  # older than MIG: the board, or its driver
        mig = False
    return Gpu(index, nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle), handle, mig)


def _listed(boards: Sequence[Gpu]) -> str:
    return ", ".join(f"{board.index} ({board.name}, {board.uuid})" for board in boards) or "none"


def _shut_down(nvml: Any) -> None:
    with suppress(nvml.NVMLError):
        nvml.nvmlShutdown()
