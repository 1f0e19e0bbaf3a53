"""Import modules that need a package of an extra, for data."""

from functools import partial

from controller.data.errors import DataError
from controller.extras import import_extra as _import_extra

import_extra = partial(_import_extra, error=DataError)
"""As `controller.extras.import_extra`; raises `DataError`."""
