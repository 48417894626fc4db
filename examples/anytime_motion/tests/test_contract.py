"""The contract that every modality must keep."""

from __future__ import annotations

from anytime_core.testing import ModalityContract
from anytime_motion.modality import MotionModality


class TestMotion(ModalityContract):
    """Motion keeps it, with the config that has no options set."""

    modality = MotionModality
