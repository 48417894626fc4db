"""The contract of modality plugins as tests, for whoever writes one.

In a plugin's own tests:

    from anytime_core.testing import ModalityContract

    class TestMotion(ModalityContract):
        modality = MotionModality

Each check is a test of its own, so that a new version of the toolkit brings new checks to old plugins. A check that a
plugin cannot pass is named with the reason in `expected_failures`; it then has to fail. `anytime plugins check NAME`
runs the same from the command line.
"""

from __future__ import annotations

from anytime_core.testing.contract import CheckResult, ModalityContract, check_modality, iter_checks

__all__ = ["CheckResult", "ModalityContract", "check_modality", "iter_checks"]
