"""For all tests: a property is judged by its answer, never by the time that a loaded machine needs for it."""

import structlog
from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")

# The library's own tracebacks show the locals of every frame: that holds the loop up for a second, and the watchdog
# then stops entries in tests that ask for something else. In the product logs are JSON with plain ones.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
