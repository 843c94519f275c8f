"""The worker process of a replica, on the recorder instead of transformers; a module that a new process can import.

What a worker does wrong is told by the model's name.
"""

import os
import signal
import time
from typing import Any

from llenergymeasure.audit.recorder import Recorder
from llenergymeasure.config.models import ExperimentConfig
from llenergymeasure.core import replicas
from llenergymeasure.core.session import Session, Share
from llenergymeasure.surface import snapshots


def serve(pipe: Any, stop: Any, config: ExperimentConfig, share: Share) -> None:
    replicas.RealApi = lambda: Recorder(snapshots.load("pytorch", "5.23.0"))  # type: ignore[assignment, misc]
    replicas.Session = _MISBEHAVING.get(config.model, Session)  # type: ignore[misc]
    replicas._serve(pipe, stop, config, share)


class Dies(Session):
    """The second replica is killed when its pass begins."""

    def run(self, *arguments: Any) -> bool:
        if self.share.replica == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(*arguments)


class DiesLoading(Session):
    def open(self) -> Any:
        if self.share.replica == 1:
            os._exit(7)
        return super().open()


class Refuses(Session):
    def open(self) -> Any:
        if self.share.replica == 1:
            raise ValueError("num_beams must not be so")
        return super().open()


class Slow(Session):
    """Gives an interrupt time to come; the first replica is done at once."""

    def run(self, should_stop: Any, tick: Any) -> bool:
        def slowly(count: int) -> None:
            tick(count)
            if self.share.replica == 1:
                time.sleep(0.2)

        return super().run(should_stop, slowly)


class Stuck(Session):
    def run(self, *_: Any) -> bool:
        time.sleep(600)
        return True


_MISBEHAVING = {"dies": Dies, "dies-loading": DiesLoading, "refuses": Refuses, "slow": Slow, "stuck": Stuck}
