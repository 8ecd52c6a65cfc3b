"""Deterministic ids: the same facts give the same id in every process and after every restart (R-005).

A client order id is `kp` + 20 hex digits of a hash + `-` + the leg: at most 32 characters of [a-z0-9-], which every
broker in the list accepts, short enough for the suffixes that some of them add to bracket children.
"""

from hashlib import blake2b
from typing import Final

#: own orders are recognised by this prefix, beside the broker's order id
OWN_PREFIX: Final = "kp"
#: characters, the shortest maximum among the brokers' client id fields
CL_ORD_ID_LENGTH_MAX: Final = 32
_HASH_BYTES: Final = 10


def _short_hash(*parts: str) -> str:
    return blake2b("\x1f".join(parts).encode(), digest_size=_HASH_BYTES).hexdigest()


def list_id(workspace: str, signal_id: str) -> str:
    """The id that ties all intents of one signal."""
    return "ls" + _short_hash(workspace, signal_id)


def cl_ord_id(list_id_: str, account_id: str, leg: str) -> str:
    """Our order id: a pure function of signal (through its list id), account and leg; attempt is always 1."""
    return f"{OWN_PREFIX}{_short_hash(list_id_, account_id)}-{leg}"


def derived_signal_id(*parts: str) -> str:
    """A signal id for sources that carry none: the same message gives the same id (duplicates die on it)."""
    return "sg" + _short_hash(*parts)


def is_own(cl_ord_id_: str | None) -> bool:
    """True for ids this house makes; bracket children at brokers that suffix our tag count too."""
    return cl_ord_id_ is not None and cl_ord_id_.startswith(OWN_PREFIX)
