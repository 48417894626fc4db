"""The motion modality's sections of a config."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from anytime_core.config import Section


class DataConfig(Section):
    """Which performances."""

    steps: int = Field(64, ge=16, le=4096, description="time steps of a sample, 30 a second")
    train: int = Field(3000, ge=1, le=10**6, description="training samples")
    validation: int = Field(600, ge=1, le=10**6, description="validation samples")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of the performances")
    mirror: bool = Field(True, description="let left and right change places at random in training")


class NetworkConfig(Section):
    """The encoder and the decoder."""

    channels: int = Field(
        16, ge=1, le=2**16, description="channels C of the latent map; on the channel axis the number of codes"
    )
    widths: tuple[Annotated[int, Field(ge=1, le=2**14)], ...] = Field(
        (48, 96), min_length=1, max_length=8, description="channels after each halving of the time steps"
    )
    depth: int = Field(1, ge=0, le=64, description="residual blocks at each resolution")


class MotionConfig(Section):
    """The motion modality's sections of a config."""

    data: DataConfig = Field(DataConfig(), description="which performances")
    network: NetworkConfig = Field(NetworkConfig(), description="encoder and decoder")

    @model_validator(mode="after")
    def _steps_can_be_halved(self) -> MotionConfig:
        halvings = len(self.network.widths)
        if self.data.steps % 2**halvings:
            raise ValueError(
                f"data.steps={self.data.steps} cannot be halved {halvings} times, once for each of network.widths="
                f"{list(self.network.widths)}: choose a multiple of {2**halvings}"
            )
        return self
