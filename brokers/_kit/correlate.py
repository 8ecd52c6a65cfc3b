"""Whose order is it, and was this execution seen before: bounded memories for one session."""

import re
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, TypeVar

from kopitra.domain.ids import is_own

#: per account; a day of heavy trading, and some 0.5 MB if it is really reached
EXECS_PER_ACCOUNT_MAX: Final = 4096
#: per session; ids of orders that we sent or saw to be ours
OWN_ORDERS_MAX: Final = 8192
#: per login; rows that do not read, which lists show again in each read
ROWS_TOLD_MAX: Final = 1_000

V = TypeVar("V")

_SAFE: Final = re.compile(r"[A-Za-z0-9_-]+")


def check_cl_ord_id(cl_ord_id: str, length_max: int) -> str:
    """The id itself if a broker's client id field of `length_max` characters takes it unchanged.

    Raises ValueError: an id that the broker would cut or translate could never be looked up again.
    """
    if len(cl_ord_id) > length_max:
        raise ValueError(
            f"client order id {cl_ord_id!r} is longer than this broker's {length_max} characters"
        )
    if not _SAFE.fullmatch(cl_ord_id):
        raise ValueError(f"client order id {cl_ord_id!r} must use letters, digits, - and _ only")
    return cl_ord_id


class Once:
    """Keys seen. When it is full the key seen first is forgotten first."""

    __slots__ = ("_max", "_seen")

    def __init__(self, keys_max: int) -> None:
        self._max = keys_max
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def first_time(self, key: Hashable) -> bool:
        """True once per key."""
        if key in self._seen:
            return False
        _remember(self._seen, key, None, self._max)
        return True


class ExecDedupe:
    """Execution ids seen, per account. When an account is full the id seen first is forgotten first.

    This is the first net, against double events of a stream; the durable one is the journal's fold.
    """

    __slots__ = ("_max", "_seen")

    def __init__(self, per_account_max: int = EXECS_PER_ACCOUNT_MAX) -> None:
        self._max = per_account_max
        self._seen: dict[str, Once] = {}

    def first_time(self, account_id: str, exec_id: Hashable) -> bool:
        """True once per execution id of an account."""
        seen = self._seen.get(account_id)
        if seen is None:
            seen = self._seen[account_id] = Once(self._max)
        return seen.first_time(exec_id)


class OwnOrders:
    """Which broker orders are ours, by our prefix and by the broker's order id.

    Both are needed: fills often carry no client id, and an order's first event can arrive before the answer
    of its placement (then the prefix decides, and teaches the order id).
    """

    __slots__ = ("_ids", "_max")

    def __init__(self, orders_max: int = OWN_ORDERS_MAX) -> None:
        self._max = orders_max
        self._ids: OrderedDict[Hashable, str] = OrderedDict()

    def claim(self, order_id: Hashable, cl_ord_id: str) -> None:
        """The broker gave `order_id` to our order `cl_ord_id`; the order claimed first is forgotten first."""
        self._ids.pop(order_id, None)
        _remember(self._ids, order_id, cl_ord_id, self._max)

    def cl_ord_id_of(self, order_id: Hashable) -> str | None:
        """Our id of the broker's order, None if it is not known to be ours."""
        return self._ids.get(order_id)

    def recognise(self, order_id: Hashable, cl_ord_id: str | None) -> str | None:
        """Our id if the order of an event is ours, else None; a client id of ours teaches its order id."""
        if cl_ord_id is not None and is_own(cl_ord_id):
            if order_id not in self._ids:
                self.claim(order_id, cl_ord_id)
            return cl_ord_id
        return self._ids.get(order_id)


def _remember(memory: OrderedDict[Hashable, V], key: Hashable, value: V, entries_max: int) -> None:
    # A plain dict finds its first key ever slower, when the first ones are deleted again and again.
    while len(memory) >= entries_max:
        memory.popitem(last=False)
    memory[key] = value
