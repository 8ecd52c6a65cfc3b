"""For all tests: a property is judged by its answer, never by the time that a loaded machine needs for it."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
