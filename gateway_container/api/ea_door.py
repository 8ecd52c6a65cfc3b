"""What the doors need of EA sessions; `Doors.ea` is filled by who holds the shard, because it keeps the streams."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from gateway_container.api.problems import Problem
from kopitra.domain.ea_sessions import Beat, Mismatch, OutEvent, SessionStatus
from kopitra.domain.leader_snapshot import LeaderSnapshot
from kopitra.store.ea_sessions import SessionDraft, SessionRow

#: events of one session that are remembered because they may come again; orders are remembered by the journal
SEEN_MAX: Final = 256
#: answers of one session that are remembered
ANSWERS_MAX: Final = 16
#: long polls of one session at once
WAITERS_MAX: Final = 4


class FirstAnswer(NamedTuple):
    """What was answered, and the SHA-256 of the body that it was for."""

    fingerprint: bytes
    body: bytes


class Link(Protocol):
    """A WebSocket of a session."""

    def wake(self) -> None:
        """There is something to tell."""
        ...

    def retire(self) -> None:
        """Another connection of the session has taken over."""
        ...


@dataclass(slots=True)
class EaSession:
    """What the holder remembers of one session. Seconds are monotonic."""

    session_id: str
    workspace: str
    key_id: str
    leader: str
    token_sha256: bytes = field(repr=False)
    status: SessionStatus
    reason: str
    heard_s: float
    #: events that nobody has acknowledged, by number
    outbox: dict[int, OutEvent] = field(default_factory=dict[int, OutEvent])
    told_s: dict[int, float] = field(default_factory=dict[int, float])
    mismatch: Mismatch = ""
    #: alerts by code, and when
    alerted_s: OrderedDict[str, float] = field(default_factory=OrderedDict[str, float])
    seen: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])
    answers: OrderedDict[str, FirstAnswer] = field(default_factory=OrderedDict[str, FirstAnswer])
    news: asyncio.Event = field(default_factory=asyncio.Event)
    waiters: int = 0
    link: Link | None = None

    @property
    def pending(self) -> bool:
        """Nobody has approved it yet."""
        return self.status == "pending"

    def tell_of_news(self) -> None:
        """Wake who waits for the outbox."""
        self.news.set()
        self.news = asyncio.Event()
        if self.link is not None:
            self.link.wake()

    def first_time(self, event_id: str | None) -> bool:
        """Remember an event; False when it was remembered."""
        if event_id is None:
            return True
        if event_id in self.seen:
            return False
        self.seen[event_id] = None
        if len(self.seen) > SEEN_MAX:
            self.seen.popitem(last=False)
        return True

    def answered(self, key: str, fingerprint: bytes, body: bytes) -> None:
        """Remember an answer."""
        self.answers[key] = FirstAnswer(fingerprint, body)
        if len(self.answers) > ANSWERS_MAX:
            self.answers.popitem(last=False)


class EaDoor(Protocol):
    """The sessions of the shard."""

    def session(self, session_id: str) -> EaSession | None:
        """One, also when it has ended not long ago. Raises Problem where they are not kept."""
        ...

    async def open(self, draft: SessionDraft) -> SessionRow:
        """Open one, or find the one that the same request opened. Raises Conflict or Unavailable."""
        ...

    async def end(self, session: EaSession, reason: str) -> None:
        """End it; again is no harm."""
        ...

    def heard(self, session: EaSession, beat: Beat) -> None:
        """A heartbeat."""
        ...

    def begins(self, session: EaSession) -> None:
        """The EA starts anew: it gets its InitAck again."""
        ...

    async def snapshot(self, session: EaSession, snapshot: LeaderSnapshot) -> None:
        """The leader's reset, durable when it returns. Raises what the intake raises."""
        ...

    def acknowledged(self, session: EaSession, event_ids: Sequence[str], cursor: int | None) -> None:
        """Events that need not be told again."""
        ...

    def complains(self, session: EaSession, code: str, message: str) -> None:
        """An EA's own alert."""
        ...

    def pull(self, session: EaSession, cursor: int) -> list[OutEvent]:
        """What is told now; counts as told."""
        ...

    async def wait(self, session: EaSession, cursor: int, patience_s: float) -> list[OutEvent]:
        """`pull`, as soon as there is something or when the patience is over."""
        ...


class NoEa:
    """A replica without the shard keeps no sessions: everything raises Problem."""

    def session(self, session_id: str) -> EaSession | None:
        raise _elsewhere()

    async def open(self, draft: SessionDraft) -> SessionRow:
        raise _elsewhere()

    async def end(self, session: EaSession, reason: str) -> None:
        raise _elsewhere()

    def heard(self, session: EaSession, beat: Beat) -> None:
        raise _elsewhere()

    def begins(self, session: EaSession) -> None:
        raise _elsewhere()

    async def snapshot(self, session: EaSession, snapshot: LeaderSnapshot) -> None:
        raise _elsewhere()

    def acknowledged(self, session: EaSession, event_ids: Sequence[str], cursor: int | None) -> None:
        raise _elsewhere()

    def complains(self, session: EaSession, code: str, message: str) -> None:
        raise _elsewhere()

    def pull(self, session: EaSession, cursor: int) -> list[OutEvent]:
        raise _elsewhere()

    async def wait(self, session: EaSession, cursor: int, patience_s: float) -> list[OutEvent]:
        raise _elsewhere()


def _elsewhere() -> Problem:
    return Problem(
        "not-the-holder",
        "Sessions are served by the replica that holds the shard, and this is not it: send the same again; a "
        "signal can be posted to /signals with the EA key meanwhile.",
        retry_after_s=1,
    )
