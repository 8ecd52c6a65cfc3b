"""A firm that asks for silence at the login: no exit leaves without a token."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random

import orjson
import pytest

from brokers._kit.rest import RestClient, RestReply
from brokers._kit.runner import SessionPlan, SessionRunner, nothing
from brokers._kit.tokens import TokenHolder
from brokers.projectx.auth import Authenticator
from kopitra.ports import SessionEvent
from tests.faults.virtual_loop import VirtualClock, VirtualLoop

DAY_S = 86_400.0


class Firm(RestClient):
    """Answers logins: the first so many are fine, the next one is told to be silent for a day. It renews no token."""

    def __init__(self, loop: VirtualLoop, good: int) -> None:
        super().__init__("http://127.0.0.1:1")
        self.loop = loop
        self.good = good
        self.asked_s: list[float] = []

    async def post(
        self, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> RestReply:
        if path.endswith("validate"):
            return RestReply(401, b"")
        self.asked_s.append(self.loop.time())
        if len(self.asked_s) == self.good + 1:
            return RestReply(429, b"", retry_after="86400")
        answer = {"success": True, "errorCode": 0, "token": f"token-{len(self.asked_s)}"}
        return RestReply(200, orjson.dumps(answer))


class House:
    """A login at a firm, in virtual time."""

    def __init__(self, good: int) -> None:
        self.loop = VirtualLoop()
        clock = VirtualClock(self.loop, datetime(2026, 11, 20, tzinfo=UTC))
        self.clock_ns: Callable[[], int] = clock.monotonic_ns
        self.firm = Firm(self.loop, good)
        auth = Authenticator(self.firm, {"user_name": "user", "api_key": "key"}, clock)
        self.new: asyncio.Queue[str] = asyncio.Queue()
        self.tokens = TokenHolder(
            auth.fetch, clock_ns=self.clock_ns, rng=Random(1), on_new=self.new.put_nowait
        )


@pytest.mark.parametrize("seed", range(3))
def test_a_login_told_to_be_silent_for_a_day_is_tried_again_within_a_minute_r_062(seed: int) -> None:
    house = House(good=0)
    events: list[SessionEvent] = []

    async def login() -> None:
        await house.tokens.get()

    async def live() -> None:
        await runner.close(drain_s=0)

    plan = SessionPlan(nothing, login, nothing, nothing, live, nothing)
    runner = SessionRunner("login-1", plan, events.append, clock_ns=house.clock_ns, rng=Random(seed))

    house.loop.run_until_complete(runner.run())

    first_s, second_s = house.firm.asked_s
    assert 60 <= second_s - first_s <= 61


def test_a_renewal_told_to_be_silent_for_a_day_is_made_before_the_token_ends_r_056_r_062() -> None:
    house = House(good=1)

    async def scene() -> None:
        await house.tokens.get()
        keeping = asyncio.create_task(house.tokens.keep_fresh())
        async with asyncio.timeout(DAY_S - 1):
            assert [await house.new.get() for _ in range(2)] == ["token-1", "token-3"]
        keeping.cancel()

    house.loop.run_until_complete(scene())

    _, refused_s, renewed_s = house.firm.asked_s
    assert renewed_s - refused_s <= 61
