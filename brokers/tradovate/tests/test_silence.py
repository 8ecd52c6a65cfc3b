"""A vendor that asks for silence where a session begins: no exit leaves without one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random

import pytest

from brokers._kit.rest import RestClient, RestReply
from brokers.tradovate.auth import Login
from brokers.tradovate.entities import Account
from brokers.tradovate.settings import TradovateSettings
from brokers.tradovate.snapshot import Reader
from brokers.tradovate.symbols import ContractBook
from kopitra.domain.errors import Throttled
from kopitra.ports import LoginPlan


class Silent(RestClient):
    """Wants a day of silence whatever is asked."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> RestReply:
        return RestReply(429, b"", retry_after="86400")

    async def post(
        self, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> RestReply:
        return RestReply(429, b"", retry_after="86400")


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC)

    def monotonic_ns(self) -> int:
        return 0


async def access() -> str:
    return "token"


@pytest.fixture
def reader() -> Reader:
    return Reader(Silent(), access, lambda _n, _lane: None, ContractBook(), lambda: 0, lambda _seen: None)


async def test_a_list_that_a_session_begins_with_is_asked_again_within_a_minute_r_062(reader: Reader) -> None:
    with pytest.raises(Throttled) as raised:
        await reader.rows("/account/list", Account, "account", [])
    assert raised.value.retry_after_s == 60


async def test_cash_is_asked_again_within_a_minute_r_062(reader: Reader) -> None:
    with pytest.raises(Throttled) as raised:
        await reader.cash(1)
    assert raised.value.retry_after_s == 60


async def test_a_login_that_is_refused_again_and_again_is_tried_each_minute_r_062() -> None:
    plan = LoginPlan("login-1", (), {}, {"name": "user", "password": str(Random(1).random())})
    login = Login(plan, TradovateSettings(), Silent(), Clock(), lambda _text: None)
    for _ in range(3):
        with pytest.raises(Throttled) as raised:
            await login.fetch(None)
        assert raised.value.retry_after_s == 60
