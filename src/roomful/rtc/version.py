"""Which roomful this is."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("roomful")
except PackageNotFoundError:  # Run from its sources.
    __version__ = "0"
