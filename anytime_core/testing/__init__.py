"""The contracts of modalities, priors and quantizers, as tests for those who add them.

In a plugin's own tests:

    from anytime_core.testing import ModalityContract

    class TestMotion(ModalityContract):
        modality = MotionModality

Each check is a test of its own, so a new version of the toolkit brings new checks to old plugins. If a plugin cannot
pass a check, name the check and the reason in `expected_failures`; the check then must fail. If a plugin does not offer
what a check needs, the check is skipped and says so. `anytime plugins check NAME` runs the same checks from the command
line.
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
