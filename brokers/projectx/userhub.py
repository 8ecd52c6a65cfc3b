"""The user hub of a live session: its events, its reconnects, and the poll that replaces it meanwhile.

A hub drop does not end the session: orders travel by REST. While the hub is away, positions, trades and
working orders are polled inside the request budget and the link is told as degraded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from ssl import SSLContext
from typing import Final

import msgspec

from brokers._kit.backoff import BackoffPolicy, backoff
from brokers._kit.stream import UpgradeRefused
from brokers._kit.tokens import TokenHolder
from brokers.projectx.accounts import AccountDirectory
from brokers.projectx.answers import HTTP_UNAUTHORIZED
from brokers.projectx.events import UserEvents
from brokers.projectx.hub import connect_url
from brokers.projectx.link import HubLink, open_hub
from brokers.projectx.poll import Poller
from brokers.projectx.racing import race
from brokers.projectx.reading import AccountReader
from brokers.projectx.settings import Settings
from kopitra.domain.errors import Disconnected, ProtocolViolation, SessionError, Throttled
from kopitra.ports import Clock, EventSink, ProtocolAlert

_LOGOUTS_ALERT: Final = 3  #: logins that the firm ended before a person is told
#: events may be late by this before a drop is noticed: the silence, and a minute for slow lists
_OVERLAP_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class HubParts:
    """What the keeper of the hub works with."""

    accounts: AccountDirectory
    reader: AccountReader
    events: UserEvents
    poller: Poller
    tokens: TokenHolder[str]
    tls: SSLContext | None
    clock: Clock
    sink: EventSink


class UserHub:
    """Owner of the user hub connection. `on_health("")` when it is up, with the reason when it is down."""

    def __init__(
        self,
        login_id: str,
        settings: Settings,
        parts: HubParts,
        rng: Random,
        on_health: Callable[[str], None],
    ) -> None:
        self._login_id = login_id
        self._settings = settings
        self._parts = parts
        self._rng = rng
        self._on_health = on_health
        self._link: HubLink | None = None
        self._why_down = ""
        self._lost_at: datetime | None = None
        self._logouts = 0

    async def open(self) -> None:
        """First connect and subscribe, for at most `hub_patience_s`; without success polling begins."""
        try:
            async with asyncio.timeout(self._settings.hub_patience_s):
                self._link = await self._connect()
        except (SessionError, TimeoutError) as error:
            self._why_down = _reason(error)

    async def close(self) -> None:
        """Close the connection."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def keep(self) -> None:
        """For ever: wait for the end of the hub, poll until it is back. Raises what ends the session."""
        while True:
            if self._link is not None:
                end = await self._link.ended()
                self._why_down = end.reason
                if end.violation is not None:
                    self._alert(end.violation.message, end.violation.payload)
                if end.login_again:
                    await self._log_in_again()
                await self.close()
            self._on_health(self._why_down)
            self._lost_at = self._parts.clock.now()
            await race(self._return(), self._parts.poller.run())
            self._on_health("")

    async def _return(self) -> None:
        """Connect again and tell what the gap hid."""
        policy = BackoffPolicy(first_s=self._settings.reconnect_first_s, max_s=self._settings.reconnect_max_s)
        for wait_s in backoff(policy, self._rng):
            await asyncio.sleep(wait_s)
            try:
                self._link = await self._connect()
                await self._catch_up()
            except Throttled as error:
                await asyncio.sleep(error.retry_after_s)
            except ProtocolViolation as error:
                self._alert(error.message, error.payload)
            except Disconnected as error:
                self._why_down = error.message
            else:
                return
            await self.close()

    async def _connect(self) -> HubLink:
        parts = self._parts
        token = await parts.tokens.get()
        url = connect_url(self._settings.rtc_url, "user", token)
        try:
            link = await open_hub(
                url, self._on_event, settings=self._settings, tls=parts.tls, clock_ns=parts.clock.monotonic_ns
            )
        except UpgradeRefused as error:
            if error.status == HTTP_UNAUTHORIZED:
                parts.tokens.invalidate(token)
            raise
        try:
            await self._subscribe(link)
        except BaseException:
            await link.close()
            raise
        return link

    async def _subscribe(self, link: HubLink) -> None:
        calls: list[Awaitable[None]] = [link.call("SubscribeAccounts")]
        for account in self._parts.accounts.all():
            calls += [
                link.call(target, account.number)
                for target in ("SubscribeOrders", "SubscribePositions", "SubscribeTrades")
            ]
        await asyncio.gather(*calls)

    async def _catch_up(self) -> None:
        """There is no replay: read every account from before the gap and tell what is new."""
        parts = self._parts
        since = (self._lost_at or parts.clock.now()) - timedelta(seconds=_OVERLAP_S)
        for account in parts.accounts.all():
            await parts.reader.catch_up(account, since, first=False)

    async def _log_in_again(self) -> None:
        self._logouts += 1
        if self._logouts >= _LOGOUTS_ALERT:
            self._alert(f"the firm has ended this login {self._logouts} times: is it used elsewhere?", "")
        with suppress(Disconnected, Throttled):
            await self._parts.tokens.renew()

    def _on_event(self, target: str, arguments: list[msgspec.Raw], received_ns: int) -> None:
        if target == "GatewayLogout":
            if self._link is not None:
                self._link.log_out()
            return
        try:
            self._parts.events.take(target, arguments, received_ns)
        except ProtocolViolation as error:
            self._alert(error.message, error.payload)

    def _alert(self, text: str, payload: str) -> None:
        self._parts.sink(ProtocolAlert(self._login_id, None, text, payload))


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, SessionError) else "the hub did not answer in time"
