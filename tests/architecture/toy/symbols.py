"""Toy Town calls a contract as everybody does (ESZ6), with a bell in front."""

_BELL = "!"


def to_broker(symbol: str) -> str:
    return _BELL + symbol


def from_broker(name: str) -> str:
    return name.removeprefix(_BELL)
