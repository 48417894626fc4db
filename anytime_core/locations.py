"""The old name of `anytime_core.data.locations`, which warns and ends with the next release."""

import sys
import warnings

from anytime_core.data import locations

warnings.warn(f"{__name__} has moved: import {locations.__name__}", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = locations
