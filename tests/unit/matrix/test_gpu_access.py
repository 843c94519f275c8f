"""Ways to a GPU from what daemons say of themselves, as they said it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import docker
import pytest
from docker.types import HostConfig

from llenergymeasure.errors import EnvironmentLacksError, RequestError
from llenergymeasure.matrix.limits import Limits
from llenergymeasure.matrix.runners import container, containers, gpu, tiny
from llenergymeasure.matrix.runners.daemon import Daemon
from llenergymeasure.matrix.runners.gpu import Way, parse_devices, remedy, ways
from llenergymeasure.matrix.runners.process import Ended

# As `docker info` gave it, as far as it is read: 20.10.24, 26.1.5 with CDI and with a runtime nvidia, podman 4.3.1.
PLAIN = {"ServerVersion": "20.10.24+dfsg1", "Runtimes": {"runc": {"path": "runc"}}}
CDI = {"ServerVersion": "26.1.5+dfsg1", "Runtimes": {"runc": {"path": "runc"}}, "CDISpecDirs": ["/etc/cdi"]}
RUNTIME = {
    "ServerVersion": "26.1.5+dfsg1",
    "Runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}, "runc": {"path": "runc"}},
    "CDISpecDirs": [],
}
# The list that Docker's API documents for daemons that look for the devices themselves.
DISCOVERED = CDI | {
    "DiscoveredDevices": [{"Source": "cdi", "ID": f"nvidia.com/gpu={name}"} for name in ("0", "1", "all")]
}
NO_DRIVER = 'could not select device driver "nvidia" with capabilities: [[gpu compute utility]]'
NO_SPEC = "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all"


def of(info: dict[str, Any], *, podman: bool = False) -> Daemon:
    api = create_autospec(docker.APIClient, instance=True)
    api.create_host_config.side_effect = lambda **options: HostConfig(version="1.41", **options)
    return Daemon(api, "a daemon", info, podman)


def asked(info: dict[str, Any], devices: Sequence[str], *, podman: bool = False) -> list[dict[str, Any]]:
    return [dict(request) for way in ways(of(info, podman=podman), devices) for request in way.requests]


def runtime(count: int = 0, devices: Sequence[str] = ()) -> dict[str, Any]:
    capabilities = [["gpu", "compute", "utility"]]
    return {
        "Driver": "nvidia",
        "Count": count,
        "DeviceIDs": list(devices),
        "Capabilities": capabilities,
        "Options": {},
    }


def cdi(*names: str) -> dict[str, Any]:
    return {"Driver": "cdi", "Count": 0, "DeviceIDs": list(names), "Capabilities": [], "Options": {}}


@pytest.mark.parametrize(
    ("info", "devices", "requests"),
    [
        (PLAIN, (), [runtime(-1)]),
        (RUNTIME, (), [runtime(-1)]),
        (RUNTIME, ("0", "1"), [runtime(devices=["0", "1"])]),
        (CDI, (), [cdi("nvidia.com/gpu=all"), runtime(-1)]),
        (CDI, ("1",), [cdi("nvidia.com/gpu=1"), runtime(devices=["1"])]),
        (DISCOVERED, ("1",), [cdi("nvidia.com/gpu=1"), runtime(devices=["1"])]),
        # Which it does not list, CDI cannot give.
        (DISCOVERED, ("GPU-5",), [runtime(devices=["GPU-5"])]),
    ],
)
def test_cdi_is_tried_where_it_is_on_and_the_runtime_always(
    info: dict[str, Any], devices: Sequence[str], requests: list[dict[str, Any]]
) -> None:
    assert asked(info, devices) == requests


def test_podman_is_asked_by_cdi_alone() -> None:
    assert asked({}, ("0",), podman=True) == [cdi("nvidia.com/gpu=0")]


@pytest.mark.parametrize("text", ["0", "0,1", " 0 , 1 ", "GPU-5e3f-1", "MIG-GPU-5e3f/1/0,2"])
def test_devices_are_numbers_and_uuids(text: str) -> None:
    assert parse_devices(text) == tuple(part.strip() for part in text.split(","))


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "'' is no GPU"), ("0,", "'' is no GPU"), ("all", "'all' is no GPU"), ("-1", "'-1'"), ("0,0", "there twice")],
)
def test_what_names_no_device_is_refused(text: str, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        parse_devices(text)


@pytest.mark.parametrize(
    ("info", "said", "words"),
    [
        (PLAIN, NO_DRIVER, "install NVIDIA's container toolkit"),
        (CDI, f"CDI: {NO_SPEC}; the NVIDIA runtime: {NO_DRIVER}", "nvidia-ctk cdi generate"),
        (RUNTIME, "nvidia-container-cli: initialization error: nvml error: driver not loaded", "load NVIDIA's driver"),
        (RUNTIME, "nvidia-container-cli: device error: 7: unknown device", "`nvidia-smi -L`"),
        # A container starts, and sees nothing.
        (PLAIN, "a container sees no GPU", "install NVIDIA's container toolkit"),
        (CDI, "a container sees no GPU", "nvidia-ctk cdi generate"),
        (RUNTIME, "a container sees no GPU", "load NVIDIA's driver"),
    ],
)
def test_what_is_in_the_way_decides_what_to_do(info: dict[str, Any], said: str, words: str) -> None:
    assert words in remedy(of(info), said)


def test_of_podman_it_is_said_that_it_may_hand_out_none() -> None:
    assert "--runner docker" in remedy(of({}, podman=True), "CDI: a container sees no GPU")


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> list[container.Plan]:
    """The tiny containers that were run; each sees as many GPUs as it asks for, by CDI only if /etc/cdi is on."""
    plans: list[container.Plan] = []

    def run(_daemon: Daemon, plan: container.Plan, **options: Any) -> Ended:
        plans.append(plan)
        [request] = plan.devices
        if request.driver == "cdi":
            raise EnvironmentLacksError(f"the container could not be started: {NO_SPEC}")
        for number in range(len(request.device_ids) or 2):
            options["on_line"](f"/dev/nvidia{number}")
        return Ended(0, timed_out=False, duration_s=0.1)

    monkeypatch.setattr(container, "run", create_autospec(container.run, side_effect=run))
    monkeypatch.setattr(tiny, "load", create_autospec(tiny.load, return_value="sha256:1"))
    return plans


def test_the_first_way_on_which_a_container_sees_the_gpus_is_taken(look: list[container.Plan]) -> None:
    daemon = of(CDI)
    assert gpu.reach(daemon, ("0", "1"), (1000, 1000)).name == "the NVIDIA runtime"
    assert [plan.devices[0].driver for plan in look] == ["cdi", "nvidia"]
    assert {plan.user for plan in look} == {(1000, 1000)}
    api: Any = daemon.api
    api.remove_image.assert_called_once_with("sha256:1", force=True)


def test_fewer_gpus_than_asked_for_are_not_enough(look: list[container.Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    one = Way("a way", ways(of(PLAIN), ())[0].requests)
    monkeypatch.setattr(gpu, "ways", lambda *_: (one,))
    with pytest.raises(EnvironmentLacksError, match="no container reaches GPU 0,1,2: a way: a container sees /dev/nv"):
        gpu.reach(of(PLAIN), ("0", "1", "2"), (1000, 1000))


def test_a_look_that_hangs_reaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hung = create_autospec(container.run, return_value=Ended(0, timed_out=True, duration_s=60))
    monkeypatch.setattr(container, "run", hung)
    monkeypatch.setattr(tiny, "load", create_autospec(tiny.load, return_value="sha256:1"))
    with pytest.raises(EnvironmentLacksError, match="it hung"):
        gpu.reach(of(PLAIN), (), (1000, 1000))


def made(daemon: Daemon, **changes: Any) -> dict[str, Any]:
    """What the daemon is asked to make of a plan."""
    plan = container.Plan("n", "i", ["a", "b"], {"l": "1"}, (1, 2), Limits(), 2**30, **changes)
    container.create(daemon, plan)
    api: Any = daemon.api
    [call] = api.create_container.call_args_list
    return dict(call.kwargs)


def test_a_container_asks_for_the_gpus_of_its_way_and_nobody_else_does() -> None:
    [way] = ways(of(RUNTIME), ("1",))
    assert made(of(RUNTIME), devices=way.requests)["host_config"]["DeviceRequests"] == [runtime(devices=["1"])]
    assert "DeviceRequests" not in made(of(RUNTIME))["host_config"]


@pytest.mark.parametrize(
    ("option", "key", "value"),
    [("userns", "UsernsMode", "host"), ("selinux", "Binds", ["/f:/out:rw,Z"]), ("seccomp", "Binds", ["/f:/out:rw"])],
)
def test_what_a_daemon_is_secured_by_is_heeded(option: str, key: str, value: object) -> None:
    daemon = of({"SecurityOptions": [f"name={option},profile=default"]})
    assert made(daemon, folder=Path("/f"))["host_config"][key] == value


def test_a_daemon_without_roots_rights_maps_its_root_to_the_caller() -> None:
    assert containers.user(of({"SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]})) == (0, 0)
    assert containers.user(of({})) != (0, 0)
