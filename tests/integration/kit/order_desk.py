"""A pool in the hands of a test, and servers that it meets often."""

from collections.abc import Awaitable, Callable

from brokers._kit.http_request import RequestTemplate
from brokers._kit.order_http import HttpReply, Lost, NotSent, OrderHttpPool, PoolSettings, Sent
from tests.integration.kit.conftest import Peer, until

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ORDER = RequestTemplate("/order", "broker", {"Authorization": "Bearer t"}).with_body(b'{"qty":1}')
ONE = PoolSettings(links=1, timeout_s=5, waiting_max_s=5, young_s=0.01)


class Desk:
    """A pool and everything it answered."""

    def __init__(self, pool: OrderHttpPool) -> None:
        self.pool = pool
        self.answers: list[HttpReply | Lost] = []

    def send(self, key: str, serial: str | None = None) -> Sent | NotSent:
        return self.pool.send(ORDER, self.answers.append, key=key, serial=serial)

    async def ask(self, key: str = "a") -> HttpReply | Lost:
        before = len(self.answers)
        assert self.send(key) is Sent.WRITTEN
        await until(lambda: len(self.answers) > before)
        return self.answers[-1]


async def echo_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.say(OK)


async def silent(peer: Peer) -> None:
    while True:
        await peer.request()


#: the fixture `pools`
Open = Callable[[PoolSettings], Awaitable[OrderHttpPool]]
