"""Containers that go wrong, on a real daemon: each has its outcome, and nothing of it stays."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from llenergymeasure.errors import EnvironmentLacksError, LlemError
from llenergymeasure.matrix.records import Outcome, read
from llenergymeasure.matrix.runners import base, containers, gpu, owners, tiny
from llenergymeasure.matrix.runners.containers import FOLDER, Found, Given, user
from llenergymeasure.matrix.runners.installing import SetupTimeoutError
from llenergymeasure.matrix.runners.results import MAX_FILE_BYTES

from .fixtures_containers import Lab, daemon, image, kind, lab, soon

__all__ = ["daemon", "image", "kind", "lab"]


def test_a_clean_run_is_passed_with_the_image_it_ran_in(lab: Lab) -> None:
    record = lab.run("print('said'); part()")
    assert (record.status, record.reason, record.runner) == (Outcome.PASSED, "", lab.kind)
    assert record.image_digest == lab.image.image_id
    assert record.tests["t.py::test_a"].outcome is Outcome.PASSED
    assert lab.log == "said\n"
    assert "said" in lab.lines


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("", Outcome.ERROR, "ended with 0 and left no whole result"),
        ("part(tests={})", Outcome.ERROR, ""),
        ("sys.exit(7)", Outcome.ERROR, "ended with 7 and left no whole result"),
        ("in_the_middle(); os.kill(os.getpid(), signal.SIGKILL)", Outcome.CRASH, "SIGKILL"),
        ("in_the_middle(); os.abort()", Outcome.CRASH, "SIGABRT"),
        ("part(); os.kill(os.getpid(), signal.SIGSEGV)", Outcome.CRASH, "SIGSEGV"),
        ("part(tests={'a': {'outcome': 'failed', 'duration_s': 1}}); sys.exit(1)", Outcome.FAILED, ""),
    ],
)
def test_however_it_ends_the_record_says_so(lab: Lab, code: str, status: Outcome, reason: str) -> None:
    record = lab.run(code)
    assert record.status is status
    assert reason in record.reason


def test_past_its_deadline_it_is_asked_to_end_and_the_test_that_hung_is_named(lab: Lab) -> None:
    record = lab.run(
        "signal.signal(signal.SIGTERM, lambda *_: (print('asked', flush=True), sys.exit()))\n"
        "in_the_middle(); time.sleep(600)",
        deadline_s=1.5,
        options={"grace_s": 10},
    )
    assert (record.status, record.reason) == (Outcome.TIMEOUT, "still running after 1.5 s, then ended")
    outcomes = {name: case.outcome for name, case in record.tests.items()}
    assert outcomes == {"t.py::a": Outcome.PASSED, "t.py::b": Outcome.TIMEOUT, "t.py::c": Outcome.SKIPPED}
    assert lab.log.splitlines() == ["in the middle", "asked"]


def test_one_that_ignores_the_request_is_killed(lab: Lab) -> None:
    record = lab.run(
        "signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
        "in_the_middle()\nwhile True: time.sleep(600)",
        deadline_s=1.5,
    )
    assert record.status is Outcome.TIMEOUT
    assert lab.log.splitlines() == ["in the middle", "no"]


def test_one_that_is_killed_from_outside_is_a_crash(lab: Lab) -> None:
    def kill() -> None:
        soon(lambda: "in the middle" in lab.lines)
        lab.daemon.api.kill(lab.containers()[0]["Id"])

    killer = threading.Thread(target=kill)
    killer.start()
    record = lab.run("in_the_middle(); time.sleep(600)")
    killer.join()
    assert (record.status, record.tests["t.py::b"].outcome) == (Outcome.CRASH, Outcome.CRASH)
    assert "SIGKILL" in record.reason


@pytest.mark.parametrize(
    "code",
    [
        "in_the_middle(); b'x' * (1 << 30)",
        # The program itself survives, and says that all is well.
        "subprocess.run([sys.executable, '-c', \"b'x' * (1 << 30)\"]); part()",
        "Path('/dev/shm/big').write_bytes(b'x' * (1 << 25)); Path('/tmp/big').write_bytes(b'x' * (1 << 26))",
    ],
    ids=["itself", "a child", "files in memory"],
)
def test_one_that_is_out_of_memory_is_a_crash(lab: Lab, code: str) -> None:
    if lab.daemon.podman and "part()" in code:
        pytest.skip("needs a daemon that says when a child was out of memory: podman 4.3 does not")
    record = lab.run(code, memory_gib=0.0625, tmp_gib=1)
    assert record.status is Outcome.CRASH
    words = {"ran out of memory: its limit is 0.0625 GiB"}
    if lab.daemon.podman:  # seen on 4.3: it knows the signal alone
        words.add("killed for want of memory (SIGKILL)")
    assert record.reason in words


@pytest.mark.parametrize(
    "code",
    [
        "file = (out / 'big').open('wb')\nwhile True: file.write(b'x' * 65536)",
        "for number in range(10**9): (out / str(number)).touch()",
        "folder = out\nwhile True: folder = folder / 'd'; folder.mkdir(); (folder / 'f').write_bytes(b'x' * 100000)",
    ],
    ids=["one file", "empty files", "folders"],
)
def test_one_that_fills_its_disk_is_ended(lab: Lab, code: str) -> None:
    record = lab.run(code, results_gib=0.02)
    assert (record.status, record.reason) == (Outcome.CRASH, "wrote more than 0.02 GiB of results")


def test_one_that_forks_without_end_stays_within_its_limit(lab: Lab) -> None:
    code = """
most = 0
while True:
    try:
        if os.fork() == 0: time.sleep(600)
        most += 1
    except OSError:
        (out / "journal.jsonl").write_text(json.dumps({"start": str(most)}))
        time.sleep(0.1)
"""
    record = lab.run(code, deadline_s=2, processes=24)
    [(most, case)] = record.tests.items()
    assert (record.status, case.outcome) == (Outcome.TIMEOUT, Outcome.TIMEOUT)
    assert 10 < int(most) < 24


def test_output_without_end_is_bounded_in_the_log_and_its_end_is_kept(lab: Lab) -> None:
    record = lab.run("for _ in range(2000): print('x' * 1000)\nprint('the end'); part()", log_gib=2**-10)
    assert record.status is Outcome.PASSED
    assert len(lab.log) < 1.2e6
    assert "bytes left out here: the log is kept up to 1048576 bytes" in lab.log
    assert lab.log.endswith("the end\n")


def test_one_that_closes_its_output_is_waited_for(lab: Lab) -> None:
    record = lab.run("print('first', flush=True); os.close(1); os.close(2); time.sleep(1); part()")
    assert (record.status, lab.log) == (Outcome.PASSED, "first\n")


HOSTILE = {
    "a link to a file of the host": ("(out / 'part.json').symlink_to('/etc/passwd')", "part.json cannot be taken out"),
    "a pipe that blocks": ("os.mkfifo(out / 'part.json')", "part.json is no plain file"),
    "a folder": ("(out / 'part.json').mkdir()", "part.json is no plain file"),
    "huge": (f"part(); os.truncate(out / 'part.json', {MAX_FILE_BYTES + 1})", "part.json has 268 MB"),
    "deep": ("(out / 'part.json').write_text('[' * 200000)", "left no whole result"),
    "truncated": ("(out / 'part.json').write_text('{\"finished\": tr')", "left no whole result"),
    "another's": ("part(tests={'a': 5})", "part.json is not what the cell's program writes"),
    "closed": ("(out / 'd').mkdir(); (out / 'd' / 'f').touch(); (out / 'd').chmod(0)", "left no whole result"),
}


@pytest.mark.parametrize(("code", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_what_it_leaves_can_neither_fool_nor_stop_the_run(lab: Lab, code: str, reason: str) -> None:
    record = lab.run(code)
    assert record.status is Outcome.ERROR
    assert reason in record.reason


def test_it_is_confined(lab: Lab) -> None:
    code = """
def refused(action):
    try: action()
    except OSError as error: return error.strerror
    return "done"
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
facts = {
    "root": refused(lambda: Path("/usr/file").write_text("")),
    "tmp": refused(lambda: Path("/tmp/big").write_bytes(b"x" * (60 << 20))),
    "home": refused(lambda: (Path.home() / "file").write_text("")),
    "caps": status["CapBnd"], "privileges": status["NoNewPrivs"],
    "first": Path("/proc/1/comm").read_text().strip(),
    "networks": [line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]],
    "shm": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    "offline": os.environ["HF_HUB_OFFLINE"], "user": [os.getuid(), os.getgid()],
}
part(packages={"facts": json.dumps(facts)})
"""
    facts = json.loads(lab.run(code).packages["facts"])
    assert abs(facts.pop("shm") - 0.05 * 1024**3) < 4096
    assert tuple(facts.pop("user")) == user(lab.daemon) != (0, 0)
    assert facts == {
        "root": "Read-only file system",
        "tmp": "No space left on device",
        "home": "done",
        "caps": "0000000000000000",
        "privileges": "1",
        "first": "podman-init" if lab.daemon.podman else "docker-init",
        "networks": ["lo"],
        "offline": "1",
    }


def test_results_are_the_callers_whoever_wrote_them(lab: Lab) -> None:
    lab.run("part(); os.umask(0o777); (out / 'junit.xml').write_text('x'); (out / 'other').write_text('x')")
    assert (lab.out_dir / "junit.xml").read_text() == "x"
    assert (lab.out_dir / "junit.xml").owner() == (lab.out_dir / base.RECORD).owner()
    assert not (lab.out_dir / "other").exists()


def test_what_an_earlier_run_left_is_not_read(lab: Lab) -> None:
    assert lab.run("part()").status is Outcome.PASSED
    assert lab.run("").status is Outcome.ERROR


def test_kept_it_is_ended_and_stays_with_its_results(lab: Lab) -> None:
    try:
        record = lab.run("in_the_middle(); time.sleep(600)", deadline_s=1, options={"keep": True})
        assert record.status is Outcome.TIMEOUT
        [row] = lab.containers()
        assert row["State"] in ("exited", "stopped")
        assert row["Labels"][owners.CELL] == "pytorch-0.0.1-cpu"
        assert row["Names"][0].lstrip("/") in lab.lines[-1]
        assert (lab.out_dir / FOLDER / "part.json").exists()
        # Its run is still under way, so that nobody else's cleaning takes it.
        assert row["Names"][0].lstrip("/") in owners.clean(lab.daemon.api, everything=False).running
    finally:
        for row in lab.containers():
            lab.daemon.api.remove_container(row["Id"], force=True)
        containers.results.remove(lab.out_dir / FOLDER)


def test_one_that_cannot_be_started_is_an_error(lab: Lab) -> None:
    gone = Found("gone", f"sha256:{'0' * 64}")
    runner = dataclasses.replace(lab.runner(["python3"]), build=lambda *_: gone)
    record = runner.run(lab.cell(), lab.folder, lab.out_dir, 30, lab.lines.append)
    assert record.status is Outcome.ERROR
    assert record.reason.lower().startswith("the container could not be started: no such image")


def test_a_program_that_is_not_there_is_an_error(lab: Lab) -> None:
    record = lab.runner(["/no/such"]).run(lab.cell(), lab.folder, lab.out_dir, 30, lab.lines.append)
    assert record.status is Outcome.ERROR
    assert "exec /no/such failed: No such file or directory" in lab.log


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SetupTimeoutError("the build was not done after 1 s", "see build.log"), Outcome.TIMEOUT),
        (EnvironmentLacksError("no room for the image", "make room"), Outcome.ERROR),
    ],
)
def test_an_image_that_cannot_be_made_is_a_record_with_what_to_do(lab: Lab, error: LlemError, status: Outcome) -> None:
    def build(*_: object) -> Found:
        raise error

    runner = dataclasses.replace(lab.runner(["python3"]), build=build)
    record = runner.run(lab.cell(), lab.folder, lab.out_dir, 30, lab.lines.append)
    assert (record.status, record.reason) == (status, f"{error.cause}; {error.remedy}")


def test_an_image_that_is_not_there_is_named_with_those_that_are(lab: Lab) -> None:
    given = Given(lab.kind, "no/such:image")
    with pytest.raises(EnvironmentLacksError, match=r"image no/such:image: .*No such image") as caught:
        given(lab.cell(), lab.folder, lab.folder / "log", print)
    assert lab.image.reference in caught.value.remedy


def test_the_tiny_container_that_looks_for_a_gpu_says_what_is_in_the_way(lab: Lab) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("needs a machine without an NVIDIA GPU")
    said = "CDI: a container sees no GPU" if lab.daemon.podman else "could not select device driver"
    with pytest.raises(EnvironmentLacksError, match=rf"no container reaches a GPU: .*{said}"):
        gpu.reach(lab.daemon, (), user(lab.daemon))
    with tiny.image(lab.daemon) as made:
        # Where nothing asks for a GPU it starts, and sees none: the look itself works.
        assert gpu._seen(lab.daemon, made, gpu.Way("nothing", ()), user(lab.daemon)) == []
    assert made not in [row["Id"] for row in lab.daemon.api.images(all=True)]


def test_a_gpu_that_no_container_reaches_stops_a_cuda_cell_before_its_build(lab: Lab) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("needs a machine without an NVIDIA GPU")

    def build(*_: object) -> Found:
        raise AssertionError("built")

    runner = dataclasses.replace(lab.runner(["python3"]), build=build)
    cell = dataclasses.replace(lab.cell(), platform="cuda")
    record = runner.run(cell, lab.folder, lab.out_dir, 30, print)
    assert record.status is Outcome.ERROR
    assert "no container reaches a GPU" in record.reason
    assert "nvidia-ctk" in record.reason
    assert read(lab.out_dir / base.RECORD) == record
