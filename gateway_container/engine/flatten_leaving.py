"""Taking back the closes of a flatten that has failed (R-094, R-095).

A person may close the account now, and a close of ours that fills behind that would turn it. So each of them is asked
to end until it has, by what the book knows of it: the reads may be what failed.
"""

import asyncio
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Final

from gateway_container.engine.flatten_run import Parts
from gateway_container.engine.written import order_ref
from kopitra.domain.book import ChildOrder
from kopitra.domain.ids import cl_ord_id
from kopitra.domain.journal import OrderNotSent

#: seconds between two looks at closes that still work; the last one repeats
LOOK_PAUSES_S: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: looks after the last try, about an hour; then a person is told
LOOKS_MAX: Final = 70


class Leaving:
    """The closes of one account's flattens, whichever run or process sent them."""

    def __init__(self, parts: Parts, account_id: str) -> None:
        self._parts = parts
        self._account = account_id
        #: why a cancel could not be asked for, told once
        self._fault = ""

    @property
    def is_over(self) -> bool:
        """Nothing of it may fill any more; what is parked is a person's."""
        return all(child.state == "parked" for child in self._closes())

    async def wait(self, seconds: float) -> None:
        """Let so much time pass, and nothing of it work meanwhile."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        for pause_s in _pauses_s():
            self._take_back()
            left_s = end_s - loop.time()
            if left_s <= 0:
                return
            await asyncio.sleep(min(pause_s, left_s))

    async def to_the_end(self) -> None:
        """Nobody tries again: ask until nothing of it works, for an hour at most."""
        for pause_s in islice(_pauses_s(), LOOKS_MAX):
            self._take_back()
            if self.is_over:
                return
            await asyncio.sleep(pause_s)
        names = ", ".join(child.intent.cl_ord_id for child in self._closes())
        text = f"closes of a failed flatten may still fill ({names}): cancel them at the broker"
        self._parts.alert("flatten-failed", text, self._account)

    def _closes(self) -> list[ChildOrder]:
        return list(self._parts.state.book.open_children(self._account, ""))

    def _take_back(self) -> None:
        for child in self._closes():
            try:
                self._end(child)
            except Exception as error:  # noqa: BLE001 - what keeps one close from ending must be seen, and end no run
                self._tell(
                    f"the close {child.intent.cl_ord_id} of a failed flatten is not canceled: {error!r}"
                )

    def _end(self, child: ChildOrder) -> None:
        """Before its write it does not leave; at the broker it is asked to end; without an answer yet it must wait."""
        sessions, fanout, name = self._parts.sessions, self._parts.fanout, child.intent.cl_ord_id
        if child.order_id is not None:
            session = sessions.of(self._account)
            if session is not None and child.state != "parked" and not fanout.look.lease_is_over:
                session.cancel(order_ref(child), cl_ord_id(name, self._account, "fc"))
        elif not fanout.withdraw(self._account, name) and child.state == "claimed" and not fanout.knows(name):
            why = "the flatten ended before it could leave"
            entry = OrderNotSent(name, self._account, "withdrawn", why)
            self._parts.log.note(self._parts.state.workspace_of(self._account), entry)

    def _tell(self, text: str) -> None:
        if text != self._fault:
            self._fault = text
            self._parts.alert("flatten-failed", f"{text}; cancel it at the broker", self._account)


def _pauses_s() -> Iterator[float]:
    return chain(LOOK_PAUSES_S, repeat(LOOK_PAUSES_S[-1]))
