"""The way to a GPU by CDI on a real daemon: its specification names devices that any machine has."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from llenergymeasure.errors import EnvironmentLacksError
from llenergymeasure.matrix.records import Outcome
from llenergymeasure.matrix.runners import base, gpu, tiny
from llenergymeasure.matrix.runners.containers import ContainerRunner, user
from llenergymeasure.matrix.runners.daemon import connect
from llenergymeasure.matrix.spec import Cell

from .fixtures_daemons import Dockerd, dockerd_with_cdi

__all__ = ["dockerd_with_cdi"]

CELL = Cell("vllm", "0.0.3", "vllm", "cuda", "3.12", limits={"memory_gib": 0.1})


def specify(dockerd: Dockerd, names: Sequence[str]) -> None:
    """Each GPU is a node that a container sees, and behind it /dev/null."""
    nodes = {name: {"path": f"/dev/nvidia{name}", "hostPath": "/dev/null"} for name in names}
    devices = [{"name": name, "containerEdits": {"deviceNodes": [node]}} for name, node in nodes.items()]
    devices.append({"name": "all", "containerEdits": {"deviceNodes": list(nodes.values())}})
    (dockerd.folder / "cdi" / "nvidia.json").write_text(
        json.dumps({"cdiVersion": "0.5.0", "kind": gpu.KIND, "devices": devices})
    )


def test_a_cell_gets_the_gpus_that_it_was_given_and_no_others(dockerd_with_cdi: Dockerd, tmp_path: Path) -> None:
    specify(dockerd_with_cdi, ["0", "1"])
    image = dockerd_with_cdi.tiny_image()
    runner = ContainerRunner("docker", lambda *_: image, program=(tiny.SHELL, "-c", "echo /dev/nvidia[0-9]*"))
    seen = {}
    for devices in ((), ("1",), ("0", "1")):
        runner.run(CELL, tmp_path, tmp_path / "out", 30, lambda _: None, devices)
        seen[devices] = (tmp_path / "out" / base.LOG).read_text().split()
    both = ["/dev/nvidia0", "/dev/nvidia1"]
    assert seen == {(): both, ("1",): ["/dev/nvidia1"], ("0", "1"): both}
    # A cpu cell beside them sees none.
    runner.run(dataclasses.replace(CELL, platform="cpu"), tmp_path, tmp_path / "out", 30, lambda _: None)
    assert (tmp_path / "out" / base.LOG).read_text() == "/dev/nvidia[0-9]*\n"
    assert runner.reaches("cuda").why == "a tiny container reaches it through CDI"


def test_what_is_in_the_way_is_said_with_what_to_do(dockerd_with_cdi: Dockerd, tmp_path: Path) -> None:
    with connect("docker") as daemon:
        assert daemon.info["CDISpecDirs"] == [f"{dockerd_with_cdi.folder}/cdi"]
        with pytest.raises(EnvironmentLacksError, match="unresolvable CDI devices") as nothing:
            gpu.reach(daemon, (), user(daemon))
        assert "nvidia-ctk cdi generate" in nothing.value.remedy
        specify(dockerd_with_cdi, ["0"])
        with pytest.raises(EnvironmentLacksError, match=r"no container reaches GPU 0,7: .*nvidia\.com/gpu=7"):
            gpu.reach(daemon, ("0", "7"), user(daemon))
        assert daemon.api.containers(all=True) == []
        assert daemon.api.images(all=True) == []

    def build(*_: object) -> None:
        raise AssertionError("built")

    runner = ContainerRunner("docker", build)  # type: ignore[arg-type]
    record = runner.run(CELL, tmp_path, tmp_path / "out", 30, lambda _: None, ("7",))
    assert record.status is Outcome.ERROR
    assert "no container reaches GPU 7" in record.reason
