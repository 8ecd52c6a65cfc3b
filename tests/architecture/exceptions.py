"""The few places where a rule does not hold, each with its reason. A line that is no longer needed fails."""

from collections.abc import Mapping

#: rule -> path -> why
EXCEPTIONS: Mapping[str, Mapping[str, str]] = {}
