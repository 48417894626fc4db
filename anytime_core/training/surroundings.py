"""What a stage runs in: device, log, checkpoints and interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from accelerate import Accelerator
from torch import Tensor

from anytime_core import capture
from anytime_core.distributed import rank, world_size
from anytime_core.errors import InterruptedTrainingError
from anytime_core.training.checkpoints import Checkpoint, Checkpoints, Position
from anytime_core.training.interruption import Interruption
from anytime_core.training.log import MetricsLog, OnProgress


@dataclass(frozen=True)
class Surroundings:
    """What a stage runs in.

    Attributes:
        accelerator: device, precision and processes.
        log: the log of numbers.
        on_progress: called after every step.
        checkpoints: the checkpoints of this stage.
        interruption: asked after every step.
        capture: `training.capture`: whether steps are captured as CUDA graphs.
        resumed: the checkpoint from which the stage is resumed, None for the start.
    """

    accelerator: Accelerator
    log: MetricsLog
    on_progress: OnProgress
    checkpoints: Checkpoints
    interruption: Interruption
    capture: Literal["auto", True, False] = False
    resumed: Checkpoint | None = None
    _started: float = field(default_factory=time.perf_counter)

    @property
    def captures(self) -> bool:
        """Whether steps are captured as CUDA graphs. Each of them then looks the same to the host."""
        if self.capture == "auto":
            alone = world_size() == 1 and self.accelerator.scaler is None
            return alone and capture.can_capture(self.accelerator.device)
        return self.capture

    @property
    def done(self) -> int:
        """The number of steps that were done before the stage was resumed."""
        return self.resumed.position.step if self.resumed else 0

    @property
    def seconds(self) -> float:
        """The time that the stage took so far, with the time before it was resumed."""
        before = self.resumed.position.seconds if self.resumed else 0.0
        return round(before + time.perf_counter() - self._started, 2)

    def after_step(self, step: int, state: Callable[[], Mapping[str, Tensor]], *, last: bool, **position: Any) -> None:
        """Write a checkpoint if it is time, after the last step, or if a signal came, which ends the training.

        Args:
            step: the number of steps done; all processes must call this after the same steps.
            state: returns the tensors of the checkpoint.
            last: whether the stage ends here.
            position: further fields of `Position`.

        Raises:
            InterruptedTrainingError: Ctrl-C or SIGTERM came.
        """
        stage, run = self.checkpoints.stage, self.checkpoints.run
        signal = self.interruption.agreed(self.accelerator.device)
        if rank() == 0 and (signal or self.checkpoints.due or last):
            self.checkpoints.write(
                Position(stage=stage, step=step, seconds=self.seconds, config=self.checkpoints.config, **position),
                state(),
            )
        if signal:
            raise InterruptedTrainingError(
                f"stopped at step {step} of stage {stage}: go on with anytime train --resume {run}", signal
            )
