"""The one tree of errors.

KopitraError
    Refusal               expected; nothing was sent
        SignalRefused       the signal can never be valid
        NotSupported        the broker has no such order type or time in force
        QueueFull           a bounded queue is full
    BrokerRejected        the broker said no
    OutcomeUnknown        bytes may have reached the broker; nobody knows what it did
    SessionError
        LoginRefused        fatal: wrong credentials, locked user
        Disconnected        retry with backoff
        Throttled           retry after `retry_after_s`
        ForcedLogout        another login of the same user took the place
        ProtocolViolation   the peer said something its protocol does not contain
    StoreError
        LeaseLost           fatal: another process owns the shard, stop sending at once
        Conflict            a unique fact exists already
        Unavailable         the database cannot be reached
        Corrupt             a row cannot be read back as what was written

Inside the domain refusals travel as values (`Skipped`, `Refused`); exceptions are for the rims.
"""

from typing import Final

#: seconds before a session that was thrown out may come back
FORCED_LOGOUT_S: Final = 30.0


class KopitraError(Exception):
    """Base of all: a stable kebab-case `code` for machines, a message with the remedy for people."""

    code = "internal-error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class Refusal(KopitraError):
    """Expected, and nothing was sent."""

    code = "refused"


class SignalRefused(Refusal):
    """The signal can never be valid; `pointer` is a JSON pointer to the field at fault ("" for the whole)."""

    code = "invalid-signal"

    def __init__(self, message: str, *, code: str | None = None, pointer: str = "") -> None:
        super().__init__(message, code=code)
        self.pointer = pointer


class NotSupported(Refusal):
    """The broker has no such order type, time in force or feature."""

    code = "not-supported"


class QueueFull(Refusal):
    """A bounded queue is full; nothing was taken."""

    code = "queue-full"


class BrokerRejected(KopitraError):
    """The broker refused; `text` is its own wording, kept verbatim."""

    code = "broker-rejected"

    def __init__(self, message: str, *, text: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.text = text


class OutcomeUnknown(KopitraError):
    """Bytes may have reached the broker and no authoritative answer is known."""

    code = "outcome-unknown"


class SessionError(KopitraError):
    """A broker session cannot go on as it is."""

    code = "session-error"


class LoginRefused(SessionError):
    """Fatal: wrong credentials or a locked user; trying again can lock the account."""

    code = "login-refused"


class Disconnected(SessionError):
    """The link is gone; connect again with backoff."""

    code = "disconnected"


class Throttled(SessionError):
    """The broker asks for silence; `retry_after_s` seconds."""

    code = "throttled"

    def __init__(self, message: str, *, retry_after_s: float, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class ForcedLogout(SessionError):
    """Another login of the same user took our place: coming back at once would throw that one out, and so on
    (R-058). `retry_after_s` is longer than a lease lives, so a process that lost its lease never comes back."""

    code = "forced-logout"

    def __init__(
        self, message: str, *, retry_after_s: float = FORCED_LOGOUT_S, code: str | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = max(retry_after_s, FORCED_LOGOUT_S)


class ProtocolViolation(SessionError):
    """The peer said something its protocol does not contain; `payload` is kept for the alert (bounded)."""

    code = "protocol-violation"

    def __init__(self, message: str, *, payload: str = "", code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.payload = payload[:2048]


class StoreError(KopitraError):
    """The store cannot do what was asked."""

    code = "store-error"


class LeaseLost(StoreError):
    """Another process owns the shard; nothing may be sent any more."""

    code = "lease-lost"


class Conflict(StoreError):
    """A fact that must be unique exists already."""

    code = "conflict"


class Unavailable(StoreError):
    """The database cannot be reached now; nothing was accepted."""

    code = "store-unavailable"


class Corrupt(StoreError):
    """A stored row does not read back as what was written."""

    code = "store-corrupt"
