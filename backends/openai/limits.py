"""Published limits of services on training data, by the endpoint's kind. Pure data.

No limit holds for all servers of the kind `compatible`. So they get any data that the protocol
allows, and check it themselves.
"""

from typing import Final

from backends.openai.profiles.profile import PROFILES, ServiceLimits

UPLOAD_BYTES: Final = 512_000_000
"""Largest file for a single request, in bytes; a larger file is uploaded in parts."""
PUBLISHED: Final[dict[str, ServiceLimits]] = {
    kind: profile.limits for kind, profile in PROFILES.items()
}
