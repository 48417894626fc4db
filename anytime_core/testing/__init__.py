"""The contracts of what can be added, as tests for whoever adds it.

In a plugin's own tests:

    from anytime_core.testing import ModalityContract

    class TestMotion(ModalityContract):
        modality = MotionModality

Each check is a test of its own, so that a new version of the toolkit brings new checks to old plugins. A check that a
plugin cannot pass is named with the reason in `expected_failures`; it then has to fail. A check that needs what a
plugin does not offer is skipped, and says so. `anytime plugins check NAME` runs the same from the command line.
"""

from __future__ import annotations

from anytime_core.testing.modality import ModalityContract, check_modality, iter_checks
from anytime_core.testing.priors import PriorContract, check_prior, iter_prior_checks
from anytime_core.testing.quantizers import QuantizerContract, check_quantizer, iter_quantizer_checks
from anytime_core.testing.runner import Check, CheckResult, CheckSkipped

__all__ = [
    "Check",
    "CheckResult",
    "CheckSkipped",
    "ModalityContract",
    "PriorContract",
    "QuantizerContract",
    "check_modality",
    "check_prior",
    "check_quantizer",
    "iter_checks",
    "iter_prior_checks",
    "iter_quantizer_checks",
]
