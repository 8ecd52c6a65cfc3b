import asyncio
from collections.abc import Callable
from random import Random

import pytest

from brokers._kit.backoff import BackoffPolicy
from brokers._kit.tokens import Issued, TokenHolder, TokenPolicy
from kopitra.domain.errors import Disconnected, LoginRefused, ProtocolViolation, Throttled

NS_PER_S = 1_000_000_000


class Login:
    """A login that counts, can be held back and can fail."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.previous: list[str | None] = []
        self.failures: list[Exception] = []
        self.new: list[str] = []
        self.after_new: Callable[[], None] = lambda: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.holder = TokenHolder(
            self.fetch,
            clock_ns=lambda: self.now_ns,
            rng=Random(1),
            policy=TokenPolicy(retry=BackoffPolicy(first_s=0.001, max_s=0.002)),
            on_new=self.on_new,
        )

    async def fetch(self, previous: str | None) -> Issued[str]:
        self.previous.append(previous)
        number = len(self.previous)
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        return Issued(f"token-{number}", lifetime_s=100)

    def on_new(self, token: str) -> None:
        self.new.append(token)
        self.after_new()

    def at(self, second: float) -> None:
        self.now_ns = int(second * NS_PER_S)


@pytest.fixture
def login() -> Login:
    return Login()


async def test_many_callers_share_one_login(login: Login) -> None:
    """R-056: single flight."""
    login.gate.clear()
    callers = [asyncio.create_task(login.holder.get()) for _ in range(20)]
    await asyncio.sleep(0)
    login.gate.set()
    assert await asyncio.gather(*callers) == ["token-1"] * 20
    assert login.previous == [None]


async def test_a_caller_that_gives_up_does_not_take_the_token_from_the_others(login: Login) -> None:
    login.gate.clear()
    first, second = (asyncio.create_task(login.holder.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    login.gate.set()
    assert await second == "token-1"
    assert login.previous == [None]


async def test_a_token_is_renewed_between_70_and_75_percent_of_its_life(login: Login) -> None:
    """R-056: early, with jitter."""
    await login.holder.get()
    login.at(69.9)
    keeping = asyncio.create_task(login.holder.keep_fresh())
    for _ in range(5):
        await asyncio.sleep(0)
    assert login.previous == [None]
    keeping.cancel()
    login.at(75)
    keeping = asyncio.create_task(login.holder.keep_fresh())
    while len(login.previous) < 2:
        await asyncio.sleep(0)
    keeping.cancel()
    assert login.previous == [None, "token-1"]
    assert await login.holder.get() == "token-2"


async def test_a_renewal_that_hangs_holds_up_nobody_whose_token_is_good(login: Login) -> None:
    """R-094: reads waited for the login server, although their token was good for hours."""
    await login.holder.get()
    login.at(80)
    login.gate.clear()
    keeping = asyncio.create_task(login.holder.keep_fresh())
    await asyncio.sleep(0)
    assert await asyncio.wait_for(login.holder.get(), 0.1) == "token-1"
    keeping.cancel()
    login.gate.set()


async def test_an_old_token_serves_while_the_renewal_fails_until_it_expires(login: Login) -> None:
    await login.holder.get()
    login.at(80)
    login.failures = [Disconnected("down"), Disconnected("down")]
    with pytest.raises(Disconnected):
        await login.holder.renew()
    assert await login.holder.get() == "token-1"
    login.at(100)
    assert login.holder.current is None
    with pytest.raises(Disconnected):
        await login.holder.get()
    assert await login.holder.get() == "token-4"
    assert login.previous[-1] is None, "an expired token is not renewed but replaced"


async def test_an_invalidated_token_is_replaced_by_a_login_but_a_newer_one_stays(login: Login) -> None:
    old = await login.holder.get()
    login.holder.invalidate(old)
    assert login.holder.current is None
    assert await login.holder.get() == "token-2"
    login.holder.invalidate(old)
    assert login.holder.current == "token-2"
    assert login.previous == [None, None]


async def test_a_refused_login_is_never_tried_again_until_reset(login: Login) -> None:
    login.failures = [LoginRefused("wrong password: enter it again")]
    for _ in range(3):
        with pytest.raises(LoginRefused, match="wrong password"):
            await login.holder.get()
    assert len(login.previous) == 1
    login.holder.reset()
    assert await login.holder.get() == "token-2"


async def test_a_throttled_login_stays_silent_for_its_time(login: Login) -> None:
    login.failures = [Throttled("p-ticket", retry_after_s=15)]
    for second in (0, 14):
        login.at(second)
        with pytest.raises(Throttled):
            await login.holder.get()
    assert len(login.previous) == 1
    login.at(15)
    assert await login.holder.get() == "token-2"


async def test_keep_fresh_tries_again_and_goes_on_until_refused(login: Login) -> None:
    await login.holder.get()
    login.at(75)
    login.failures = [Disconnected("down"), Throttled("wait", retry_after_s=0)]

    def then_lock_the_user() -> None:
        login.failures = [LoginRefused("locked")]
        login.at(170)

    login.after_new = then_lock_the_user
    with pytest.raises(LoginRefused):
        await login.holder.keep_fresh()
    assert login.new == ["token-1", "token-4"]


async def test_a_token_that_is_born_expired_is_a_violation() -> None:
    async def fetch(_: str | None) -> Issued[str]:
        return Issued("token", lifetime_s=0)

    with pytest.raises(ProtocolViolation, match="clock"):
        await TokenHolder(fetch, clock_ns=lambda: 0, rng=Random(1)).get()
