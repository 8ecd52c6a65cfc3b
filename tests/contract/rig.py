"""A broker's own simulator on loopback, with its common control API and sessions on it.

Everything here speaks the ports and the control API that all simulators share; it knows no broker.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2
import msgspec

from kopitra.domain.instruments import front_month
from kopitra.domain.orders import OrderIntent
from kopitra.domain.signals import Side
from kopitra.ports import AccountLink, BrokerAdapter, LoginPlan, RunningSimulator
from tests.contract.desk import Desk
from tests.contract.ear import PATIENCE_S, Ear, MachineClock
from tests.contract.logins import ALPHA, LOGINS, OURS


class Row(msgspec.Struct, frozen=True):
    """One row of the simulator's ground-truth ledger; `price` and the like are decimal texts."""

    kind: str
    outcome: str
    account_id: int | None
    symbol: str | None
    order_id: int | None
    origin: str | None
    cl_ord_id: str | None
    side: str | None
    ord_type: str | None
    qty: int | None
    price: str | None
    stop_price: str | None
    exec_id: int | None


class Held(msgspec.Struct, frozen=True):
    """One open position at the simulator."""

    account_id: int
    symbol: str
    net_qty: int


@dataclass(slots=True)
class SimBroker:
    """A running simulator and its control API."""

    adapter: BrokerAdapter
    running: RunningSimulator
    http: httpx2.AsyncClient
    symbol: str
    clock: MachineClock = field(default_factory=MachineClock)
    desks: list[Desk] = field(default_factory=list[Desk])

    @classmethod
    async def start(cls, adapter: BrokerAdapter) -> "SimBroker":
        running = await adapter.start_simulator(host="127.0.0.1", port=0, logins=LOGINS, seed=7)
        http = httpx2.AsyncClient(base_url=running.control_url, timeout=PATIENCE_S, verify=False)
        broker = cls(adapter, running, http, front_month("ES", datetime.now(UTC).date()).symbol)
        await broker.price("6800", "6800.25")
        return broker

    async def stop(self) -> None:
        """End the sessions, then the simulator, whatever went wrong; then judge what was said."""
        try:
            for desk in self.desks:
                await desk.close()
        finally:
            await self.http.aclose()
            await self.running.stop()
        for desk in self.desks:
            desk.check()

    def plan(self, login: str) -> LoginPlan:
        """The plan of a login that the simulator knows."""
        settings, credentials = self.running.login(login)
        links = tuple(
            AccountLink(OURS[account.broker_account], account.broker_account, {}) for account in LOGINS[login]
        )
        return LoginPlan(f"login-{login}", links, settings, credentials)

    def desk(self, login: str = ALPHA, plan: LoginPlan | None = None) -> Desk:
        """A session that is not connected yet."""
        ear = Ear()
        session = self.adapter.open_session(plan or self.plan(login), ear, self.clock)
        desk = Desk(session, ear, self.clock, self.symbol)
        self.desks.append(desk)
        return desk

    async def open(self, login: str = ALPHA) -> Desk:
        """A live session."""
        desk = self.desk(login)
        desk.run()
        await desk.live()
        return desk

    # ---- the control API

    async def control(self, command: str, **arguments: object) -> bytes:
        """Carry out one command; its JSON answer."""
        answer = await self.http.post(f"/_sim/{command}", json=arguments)
        assert answer.status_code == 200, f"{command}: {answer.status_code} {answer.text}"
        return answer.content

    async def ask(self, question: str) -> bytes:
        answer = await self.http.get(f"/_sim/{question}")
        assert answer.status_code == 200, f"{question}: {answer.status_code} {answer.text}"
        return answer.content

    async def price(self, bid: str, ask: str) -> None:
        """Move the market of the card's contract."""
        await self.control("set-price", symbol=self.symbol, bid=bid, ask=ask)

    async def settings(self, **changes: object) -> None:
        """Change knobs of the simulator (SimSettings)."""
        await self.control("set-settings", **changes)

    async def quirks(self, **changes: object) -> None:
        """Plan faults of the next requests: fail_next, hang_up_next, garbage_next, throttle_next."""
        await self.control("quirks", **changes)

    async def ledger(self, kind: str | None = None) -> list[Row]:
        rows = msgspec.json.decode(await self.ask("ledger"), type=list[Row])
        return [row for row in rows if kind is None or row.kind == kind]

    async def placements(self, intent: OrderIntent | None = None) -> list[Row]:
        """Orders that API clients asked for, also refused ones; of one intent, or all."""
        return [
            row
            for row in await self.ledger("placement")
            if row.origin == "api" and (intent is None or row.cl_ord_id == intent.cl_ord_id)
        ]

    async def net_qty(self, account: str) -> int:
        """The account's true position in the card's contract."""
        number = await self.number(account)
        held = msgspec.json.decode(await self.ask("positions"), type=list[Held])
        return sum(h.net_qty for h in held if (h.account_id, h.symbol) == (number, self.symbol))

    async def number(self, account: str) -> int:
        """The simulator's own number of one of our accounts."""
        name = next(theirs for theirs, ours in OURS.items() if ours == account)
        for state in msgspec.json.decode(await self.ask("accounts"), type=list[dict[str, object]]):
            spec = msgspec.convert(state["spec"], dict[str, object])
            if spec["name"] == name:
                return msgspec.convert(spec["account_id"], int)
        raise AssertionError(f"the simulator has no account {name}")

    async def by_hand(self, account: str, side: Side, qty: int, **fields: object) -> int:
        """A person trades in the account; the order's number."""
        number = await self.number(account)
        answer = await self.control(
            "manual-order", account_id=number, symbol=self.symbol, side=side, qty=qty, **fields
        )
        events = msgspec.json.decode(answer, type=dict[str, object])["events"]
        first = msgspec.convert(events, list[dict[str, object]])[0]
        return msgspec.convert(msgspec.convert(first["order"], dict[str, object])["order_id"], int)


def secrets_of(plan: LoginPlan, names: Mapping[str, object]) -> list[str]:
    """Credential values that nobody may repeat: those whose schema says `writeOnly` or format `password`."""
    secret = [
        name
        for name, spec in names.items()
        if isinstance(spec, Mapping) and (spec.get("writeOnly") is True or spec.get("format") == "password")
    ]
    return [plan.credentials[name] for name in secret if plan.credentials.get(name)]
