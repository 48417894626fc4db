"""The old name of `anytime_core.data.user_files`, which warns and ends with the next release."""

import sys
import warnings

from anytime_core.data import user_files

warnings.warn(f"{__name__} has moved: import {user_files.__name__}", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = user_files
