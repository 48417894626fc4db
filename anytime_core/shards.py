"""The old name of `anytime_core.data.shards`, which warns and ends with the next release."""

import sys
import warnings

from anytime_core.data import shards

warnings.warn(f"{__name__} has moved: import {shards.__name__}", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = shards
