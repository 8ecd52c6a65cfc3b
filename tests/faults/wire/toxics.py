"""Faults of a line between two programs, in Toxiproxy's vocabulary, and two of its own at message level.

Each is a frozen value that says what happens to the bytes on their way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal

ToxicName = Literal[
    "latency", "jitter", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "down",
    "half_open", "duplicate", "reorder",
]  # fmt: skip
#: the twelve of the tier
TOXICS: Final[tuple[ToxicName, ...]] = (
    "latency", "jitter", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "down",
    "half_open", "duplicate", "reorder",
)  # fmt: skip
#: bytes of one slice
_SLICE_MAX: Final = 7


@dataclass(frozen=True, slots=True)
class Toxic:
    """One fault with its numbers drawn from a seed. Times in seconds, sizes in bytes."""

    name: ToxicName
    #: before each chunk
    delay_s: float = 0.0
    #: added to it by chance, up to this
    jitter_s: float = 0.0
    #: bytes a second; 0 = no limit
    rate: int = 0
    #: the connection ends after so many bytes from the broker; 0 = never
    limit: int = 0
    #: chance that a chunk of the broker ends the connection
    cut: float = 0.0
    #: the end comes as a reset, not as a FIN
    resets: bool = False
    #: what is sent goes nowhere: "down" loses the broker's words, "both" loses all
    swallows: Literal["", "down", "both"] = ""
    #: new connections are refused
    refuses: bool = False
    #: seconds between an end on one side and the end on the other
    close_s: float = 0.0
    slices: bool = False
    #: chance that a message of the broker comes twice, or after the next one
    twice: float = 0.0
    swapped: float = 0.0


_DRAWN: Final[dict[ToxicName, Callable[[Random], Toxic]]] = {
    "latency": lambda rng: Toxic("latency", delay_s=rng.uniform(0.02, 0.3)),
    "jitter": lambda rng: Toxic("jitter", jitter_s=rng.uniform(0.05, 0.4)),
    "bandwidth": lambda rng: Toxic("bandwidth", rate=rng.randint(2_000, 20_000)),
    "slow_close": lambda rng: Toxic("slow_close", cut=rng.uniform(0.4, 0.9), close_s=rng.uniform(0.1, 0.8)),
    "timeout": lambda _: Toxic("timeout", swallows="both"),
    "reset_peer": lambda rng: Toxic("reset_peer", cut=rng.uniform(0.3, 0.8), resets=True),
    "slicer": lambda _: Toxic("slicer", slices=True),
    "limit_data": lambda rng: Toxic("limit_data", limit=rng.randint(60, 900)),
    "down": lambda _: Toxic("down", refuses=True, cut=1.0, resets=True),
    "half_open": lambda _: Toxic("half_open", swallows="down"),
    "duplicate": lambda rng: Toxic("duplicate", twice=rng.uniform(0.3, 1.0)),
    "reorder": lambda rng: Toxic("reorder", swapped=rng.uniform(0.2, 0.7)),
}


def draw(name: ToxicName, rng: Random) -> Toxic:
    """The fault `name` with numbers of a seed."""
    return _DRAWN[name](rng)


def sliced(chunk: bytes, rng: Random) -> list[bytes]:
    """The chunk in small pieces."""
    pieces: list[bytes] = []
    while chunk:
        size = rng.randint(1, _SLICE_MAX)
        pieces.append(chunk[:size])
        chunk = chunk[size:]
    return pieces


@dataclass(slots=True)
class Messages:
    """Finds whole WebSocket messages in a broker's stream, from the wire's own rules (RFC 6455), so that they can
    be repeated or swapped; everything else passes as it is. Knows no broker and shares no code with the adapters.
    """

    _held: bytes = b""
    _upgraded: bool = False
    _plain: bool = False
    #: a message that waits for the next one to overtake it
    _late: bytes = field(default=b"")

    def feed(self, chunk: bytes, toxic: Toxic, rng: Random) -> bytes:
        """What leaves instead of the chunk."""
        if self._plain:
            return chunk
        if not self._upgraded:
            return self._head(chunk)
        self._held += chunk
        out = b""
        while (size := _frame_size(self._held)) and len(self._held) >= size:
            frame, self._held = self._held[:size], self._held[size:]
            out += self._treated(frame, toxic, rng)
        return out

    def _head(self, chunk: bytes) -> bytes:
        if not chunk.startswith(b"HTTP/1.1 101"):
            self._plain = True
            return chunk
        self._upgraded = True
        head, mark, rest = chunk.partition(b"\r\n\r\n")
        self._held = rest
        return head + mark

    def _treated(self, frame: bytes, toxic: Toxic, rng: Random) -> bytes:
        late, self._late = self._late, b""
        if _is_data(frame) and not late and rng.random() < toxic.swapped:
            self._late = frame
            return b""
        again = frame if _is_data(frame) and rng.random() < toxic.twice else b""
        return frame + again + late

    def flush(self) -> bytes:
        """What is still held back."""
        late, self._late = self._late, b""
        return late


def _is_data(frame: bytes) -> bool:
    """A whole text or binary message in one frame."""
    return frame[0] & 0x8F in (0x81, 0x82)


def _frame_size(data: bytes) -> int:
    """Bytes of the first frame of a server (never masked); 0 while its length is not known."""
    if len(data) < 2:
        return 0
    short = data[1] & 0x7F
    if short < 126:
        return 2 + short
    wide = 2 if short == 126 else 8
    if len(data) < 2 + wide:
        return 0
    return 2 + wide + int.from_bytes(data[2 : 2 + wide], "big")
