"""The recorded payloads."""

from pathlib import Path

RECORDINGS = Path(__file__).parents[1] / "recordings"


def recorded(name: str) -> bytes:
    return (RECORDINGS / f"{name}.json").read_bytes()
