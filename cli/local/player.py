"""Plays the scenario step by step, and notes where what happened differs from what must happen."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import httpx2

from cli.local.arithmetic import Expected, expectations
from cli.local.floor import Resting
from cli.local.scenario import (
    ASK,
    EA_ACCOUNT,
    LEADER_ACCOUNT,
    STEPS,
    Act,
    Alert,
    EaSignal,
    Hand,
    Step,
)
from cli.local.signal_view import SignalSeen, read_signal
from cli.local.stage import SHARD, Stage, sim_name
from cli.rim import Stop
from gateway_container.engine.recovery import decode_row
from kopitra.domain.journal import SignalPlanned
from kopitra.domain.signals import Signal
from kopitra.store.journal_reader import read

#: seconds that one step may take until every broker shows what it must
STEP_TIMEOUT_S: Final = 10.0
#: seconds between two looks
LOOK_EVERY_S: Final = 0.02
_ACTIONS: Final[Mapping[str, str]] = {
    "entry": "enter", "rest": "exit", "move": "replace", "reduce": "reduce", "cancel": "cancel",
    "reverse": "reverse", "flat": "exit",
}  # fmt: skip
_ORD_TYPES: Final[Mapping[str, str]] = {"stop": "stop", "target": "limit"}


@dataclass(slots=True)
class Played:
    """What has happened so far; the table and the report read it."""

    step: str = ""
    signals: dict[str, SignalSeen] = field(default_factory=dict[str, SignalSeen])
    #: signal id -> what it must have come to, by account
    expected: dict[str, Mapping[str, Expected]] = field(default_factory=dict[str, Mapping[str, Expected]])
    #: account -> signed contracts at its broker
    net: dict[str, int] = field(default_factory=dict[str, int])
    differences: list[str] = field(default_factory=list[str])


class Player:
    """`play` goes through all steps; `shown` is called whenever something is new; `look_s`: seconds after each."""

    def __init__(self, stage: Stage, played: Played, shown: Callable[[], None], look_s: float = 0.0) -> None:
        self._stage = stage
        self._shown = shown
        self._look_s = look_s
        self._seq = 0
        self.played = played

    async def play(self) -> Played:
        """All steps; stops at the first one that does not come to what it must."""
        papers = expectations(self._stage.followers, STEPS)
        for number, (step, expected) in enumerate(zip(STEPS, papers, strict=True), 1):
            self.played.step = f"{number} of {len(STEPS)}: {step.title}"
            self._shown()
            await self._act(step)
            await self._until_told(step, expected)
            await self._until_right(step, expected[-1])
            self._compare(step)
            if self.played.differences:
                break
            await asyncio.sleep(self._look_s)
        await self._until_nothing_more()
        return self.played

    # ---- playing ------------------------------------------------------------------------------------------

    async def _act(self, step: Step) -> None:
        match step.play:
            case Alert():
                await self._alert(step.play)
            case EaSignal():
                await self._ea(step.play)
            case Hand():
                await self._hand(step.play)

    async def _alert(self, alert: Alert) -> None:
        """As TradingView fills in the placeholders of its strategy alerts."""
        body = {
            "symbol": "ES1!",
            "action": alert.side,
            "contracts": str(alert.contracts),
            **_position("", alert.after),
            **_position("prev_", alert.before),
            "price": str(ASK),
            "time": self._stage.house.clock.now().isoformat(),
        }
        answer = await self._stage.http.post(self._stage.hook_path, json=body)
        _check(answer, "the alert")

    async def _ea(self, signal: EaSignal) -> None:
        """With every header, as often as the EA tries: a second answer must be the first one, marked as such."""
        now = self._stage.house.clock.now().isoformat(timespec="milliseconds")
        body = json.dumps({**signal.body, "occurredAt": now}).encode()
        headers = {
            **ea_headers(self._stage.token, EA_ACCOUNT),
            "Idempotency-Key": f"demo-{signal.body['signalId']}",
            "X-TradeAgent-Request-ID": f"demo-{signal.body['signalId']}",
            "Content-Type": "application/json",
        }
        answers = [
            await self._stage.http.post("/trade-agent/v1/signals", content=body, headers=headers)
            for _ in range(signal.times)
        ]
        for answer in answers:
            _check(answer, "the EA's signal")
        for again in answers[1:]:
            if again.content != answers[0].content or again.headers.get("Idempotent-Replayed") != "true":
                self.played.differences.append(
                    f"{self.played.step}: the second answer is not the first one again: {again.text}"
                )

    async def _hand(self, hand: Hand) -> None:
        floor, symbol = self._stage.floors[0], self._stage.contracts["ES"]
        account_id = floor.numbers[sim_name(LEADER_ACCOUNT)]
        match hand.does:
            case "order":
                exit_side = "sell" if hand.side == "buy" else "buy"
                children: list[object] = []
                if hand.bracket is not None:
                    stop, target = (str(level) for level in hand.bracket)
                    children = [
                        {"side": exit_side, "ord_type": "stop", "stop_price": stop},
                        {"side": exit_side, "ord_type": "limit", "price": target},
                    ]
                order = {"account_id": account_id, "symbol": symbol, "side": hand.side, "qty": hand.qty}
                await floor.command("manual-order", **order, children=children)
            case "close":
                qty = {"qty": hand.qty} if hand.qty else {}
                await floor.command("manual-close", account_id=account_id, symbol=symbol, **qty)
            case "move_stop":
                stop_id = (await self._leaders_order("stop")).order_id
                await floor.command("manual-replace", order_id=stop_id, stop_price=str(hand.price))
            case "cancel_stop":
                await floor.command("manual-cancel", order_id=(await self._leaders_order("stop")).order_id)
            case "cancel_target":
                await floor.command("manual-cancel", order_id=(await self._leaders_order("limit")).order_id)

    async def _leaders_order(self, ord_type: str) -> Resting:
        floor = self._stage.floors[0]
        mine = floor.numbers[sim_name(LEADER_ACCOUNT)]
        for order in await floor.resting():
            if order.account_id == mine and order.request["ord_type"] == ord_type:
                return order
        raise Stop(f"The leader has no {ord_type} order at its broker any more: the scenario is broken.")

    # ---- waiting ------------------------------------------------------------------------------------------

    async def _until_told(self, step: Step, expected: list[dict[str, Expected]]) -> None:
        """The journal holds as many signals as the step makes; each is matched with its act."""
        waiting = list(zip(step.acts, expected, strict=True))

        async def told() -> str:
            for signal in await self._new_signals():
                place = next((n for n, (act, _) in enumerate(waiting) if _is_meant(act, signal)), None)
                if place is None:
                    self.played.differences.append(
                        f"{step.title}: an unexpected signal {signal.signal_id} ({signal.action})"
                    )
                    continue
                self.played.expected[signal.signal_id] = waiting.pop(place)[1]
            return "" if not waiting else f"{len(waiting)} of {len(step.acts)} signals did not come"

        await self._until(told, step)

    async def _new_signals(self) -> list[Signal]:
        found: list[Signal] = []
        for row in await read(self._stage.house.db, SHARD, self._seq):
            self._seq = row.seq
            entry = decode_row(row) if row.entry == SignalPlanned.__name__ else None
            if isinstance(entry, SignalPlanned):
                found.append(entry.signal)
        return found

    async def _until_right(self, step: Step, expected: Mapping[str, Expected]) -> None:
        """Both brokers show the positions and resting orders that must be, and nothing is under way."""

        async def right() -> str:
            wrong = await self._wrong_at_brokers(expected)
            await self._read_signals()
            self._shown()
            under_way = [s for s in self.played.signals.values() if not s.settled]
            return "; ".join(wrong) or ("orders are under way" if under_way else "")

        await self._until(right, step)

    async def _wrong_at_brokers(self, expected: Mapping[str, Expected]) -> list[str]:
        wrong: list[str] = []
        for slot, floor in enumerate(self._stage.floors):
            held = {item.account_id: item.net_qty for item in await floor.held()}
            resting = await floor.resting()
            for spec in self._stage.followers:
                if spec.slot != slot:
                    continue
                number, must = floor.numbers[sim_name(spec.account)], expected[spec.account]
                net = self.played.net[spec.account] = held.get(number, 0)
                levels = tuple(sorted(o.level for o in resting if o.account_id == number))
                if net != must.net:
                    wrong.append(f"{spec.account} holds {net} instead of {must.net}")
                if levels != must.resting:
                    wrong.append(f"{spec.account} rests {_list(levels)} instead of {_list(must.resting)}")
        return wrong

    async def _read_signals(self) -> None:
        """The newest picture of every signal that was not settled when it was last looked at."""
        headers = ea_headers(self._stage.token, EA_ACCOUNT)
        for signal_id in self.played.expected:
            known = self.played.signals.get(signal_id)
            if known is None or not all(_over(known)):
                answer = await self._stage.http.get(f"/trade-agent/v1/signals/{signal_id}", headers=headers)
                _check(answer, f"signal {signal_id}")
                self.played.signals[signal_id] = read_signal(answer.content)

    async def _until(self, wrong: Callable[[], Awaitable[str]], step: Step) -> None:
        """Look again and again until nothing is wrong; what still is at the deadline is a difference."""
        loop = asyncio.get_running_loop()
        end = loop.time() + STEP_TIMEOUT_S
        while (said := await wrong()) and loop.time() < end:
            if not self._stage.gateway.running:
                raise Stop("The gateway has ended in the middle of the demo; see gateway.log.")
            await asyncio.sleep(LOOK_EVERY_S)
        if said:
            self.played.differences.append(f"{step.title}: {said}")

    async def _until_nothing_more(self) -> None:
        """The last pictures, and a last look for signals that nobody played."""
        await self._read_signals()
        for signal in await self._new_signals():
            self.played.differences.append(f"at the end: an unexpected signal {signal.signal_id}")
        self._shown()

    # ---- comparing ----------------------------------------------------------------------------------------

    def _compare(self, step: Step) -> None:
        for signal_id, expected in self.played.expected.items():
            found = differences(self.played.signals[signal_id], expected)
            self.played.differences += [f"{step.title}: {line}" for line in found]


def differences(seen: SignalSeen, expected: Mapping[str, Expected]) -> list[str]:
    """Followers whose decision is not what it must be; where nothing was sent the reason counts too."""
    legs = {leg.account_id: leg for leg in seen.legs}
    found: list[str] = []
    for account, must in expected.items():
        leg = legs.get(account)
        told = ("no leg", "") if leg is None else (leg.outcome, leg.reason)
        right = told == (must.outcome, must.reason) or told[0] == must.outcome == "approved"
        if not right:
            wanted = f"{must.outcome} {must.reason}".strip()
            found.append(f"{seen.action} for {account}: {' '.join(told).strip()} instead of {wanted}")
    found += [f"{seen.action}: {account} follows nobody" for account in sorted(legs.keys() - expected.keys())]
    return found


def ea_headers(token: str, account: str) -> dict[str, str]:
    """Who speaks, for which account."""
    return {"Authorization": f"Bearer {token}", "X-TradeAgent-Account": account}


def _over(signal: SignalSeen) -> list[bool]:
    return [order.state not in ("working",) for leg in signal.legs for order in leg.orders] + [signal.settled]


def _is_meant(act: Act, signal: Signal) -> bool:
    if _ACTIONS[act.kind] != signal.action:
        return False
    return act.kind not in ("rest",) or _ORD_TYPES[act.resting] == signal.ord_type


def _position(prefix: str, signed: int) -> dict[str, str]:
    side = "flat" if signed == 0 else ("long" if signed > 0 else "short")
    return {f"{prefix}market_position": side, f"{prefix}market_position_size": str(abs(signed))}


def _check(answer: httpx2.Response, what: str) -> None:
    if answer.status_code >= 400:
        raise Stop(f"The gateway refuses {what} with {answer.status_code}: {answer.text}")


def _list(levels: tuple[Decimal, ...]) -> str:
    return "/".join(str(level) for level in levels) or "nothing"
