"""Repairs: drift is ended by ordinary orders, planned and journalled like a signal's (R-046).

The gateway repairs by itself what two reads have confirmed, within each follower's policy and never more than three
times in ten minutes at one place (R-045). A person previews a plan and approves it by its id: it is made again from
new reads, and only the very same plan is carried out; carried out twice it changes nothing.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

import structlog

from gateway_container.engine.fanout import Fanout
from gateway_container.engine.log import Log
from gateway_container.engine.queue import Stamp
from gateway_container.engine.state import State
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.drift import Found
from kopitra.domain.errors import QueueFull, Refusal, StoreError
from kopitra.domain.fanout import PlanInputs
from kopitra.domain.fold_sync import GATEWAY
from kopitra.domain.journal import DriftNoted, EntriesBlocked, RepairPlanned
from kopitra.domain.repair import RepairPlan
from kopitra.domain.repairing import NO_WISH, Repairable, Wish, plan_repair
from kopitra.domain.sync import ATTEMPTS_MAX, ATTEMPTS_WITHIN, Drift
from kopitra.store.drafts import Committed
from kopitra.telemetry import Metrics

#: previews, and applied plans, that are remembered
PREVIEWS_MAX: Final = 200
#: accounts of one preview
ACCOUNTS_MAX: Final = 500
_NS_PER_MS: Final = 1_000_000

_log = structlog.get_logger("kopitra.repairs")


class NoSuchRepair(Refusal):
    """Nobody previewed a plan of this id here (or long ago)."""

    code = "not-found"


class RepairChanged(Refusal):
    """The world is not that of the preview any more: nothing was sent."""

    code = "repair-plan-changed"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a preview is about: accounts of one workspace, one leader or all (""), and what is asked for."""

    workspace: str
    accounts: tuple[str, ...]
    leader: str = ""
    wish: Wish = NO_WISH


@dataclass(frozen=True, slots=True)
class Repair:
    """A plan, and whether it was carried out."""

    plan: RepairPlan
    applied: bool


class Alert(Protocol):
    """Tell people."""

    def __call__(self, code: str, text: str, account_id: str, cl_ord_id: str = "") -> None: ...


#: reads an account anew and judges it; None: it cannot be read
Look = Callable[[str], Awaitable[Found | None]]


class Repairs:
    """Plans and sends."""

    def __init__(self, state: State, log: Log, fanout: Fanout, alert: Alert, metrics: Metrics) -> None:
        self._state = state
        self._log = log
        self._fanout = fanout
        self._alert = alert
        self._look: Look = _unseen
        #: hears of each plan whose orders leave
        self.on_sent: Callable[[RepairPlan], None] = lambda _plan: None
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._done: OrderedDict[str, RepairPlan] = OrderedDict()
        self._sent = metrics.repairs.counts

    def attach(self, look: Look) -> None:
        """Who reads accounts."""
        self._look = look

    # the world ---------------------------------------------------------------------------------------------

    def rules_of(self, account_id: str) -> list[CopyRule]:
        """The account's rules in force, of all its leaders."""
        return [r for rules in self._state.config.rules.values() for r in rules if r.account_id == account_id]

    def inputs(self, rules: Iterable[CopyRule]) -> dict[str, PlanInputs]:
        """What plans of these rules may look at, by leader."""
        by_leader: dict[str, list[CopyRule]] = {}
        for rule in rules:
            by_leader.setdefault(rule.leader, []).append(rule)
        now = self._state.clock.now()
        return {leader: self._state.plan_inputs(leader, found, now) for leader, found in by_leader.items()}

    def _world(self, workspace: str, found: Mapping[str, Found]) -> Repairable:
        rules = [rule for account_id in found for rule in self.rules_of(account_id)]
        now_ns = self._state.clock.monotonic_ns()
        return Repairable(
            workspace,
            self._state.book,
            found,
            {(rule.account_id, rule.leader): rule for rule in rules},
            self.inputs(rules),
            self._state.clock.now(),
            {root: (now_ns - at_ns) // _NS_PER_MS for root, at_ns in self._state.priced_ns.items()},
        )

    # by itself ---------------------------------------------------------------------------------------------

    def by_itself(self, account_id: str, drifts: Sequence[Drift], run_id: str) -> None:
        """Repair what is confirmed, as far as the followers' policies and the attempts allow."""
        workspace = self._state.workspace_of(account_id)
        plan = self._plan(workspace, account_id, drifts, run_id)
        tired = sorted({s.drift.symbol for s in plan.steps if s.approved and not self._may(s.drift)})
        if tired:
            for symbol in tired:
                self._park(workspace, account_id, symbol, run_id, drifts)
            plan = self._plan(workspace, account_id, [d for d in drifts if d.symbol not in tired], run_id)
        if not plan.intents:
            return
        try:
            self._send(plan, GATEWAY)
        except (StoreError, QueueFull) as error:
            _log.warning(
                "repair_waits", account=account_id, error=error.message
            )  # the next comparison tries again

    def _plan(self, workspace: str, account_id: str, drifts: Sequence[Drift], run_id: str) -> RepairPlan:
        return plan_repair(self._world(workspace, {account_id: Found(tuple(drifts), ())}), NO_WISH, run_id)

    def _may(self, drift: Drift) -> bool:
        sync, place = self._state.book.sync, (drift.account_id, drift.symbol)
        return place not in sync.parked and sync.may_repair(*place, self._state.clock.now())

    def _park(
        self, workspace: str, account_id: str, symbol: str, run_id: str, drifts: Sequence[Drift]
    ) -> None:
        if (account_id, symbol) in self._state.book.sync.parked:
            return
        minutes = int(ATTEMPTS_WITHIN.total_seconds() // 60)
        why = f"{ATTEMPTS_MAX} repairs within {minutes} minutes did not help"
        drift = next(d for d in drifts if d.symbol == symbol)
        self._log.note(workspace, DriftNoted(run_id, drift, "parked", why))
        text = f"{account_id} {symbol}: {why}; look at the broker, then `kopitra repairs preview`"
        self._alert("drift-parked", text, account_id)

    # by a person -------------------------------------------------------------------------------------------

    async def preview(self, asked: Asked) -> RepairPlan:
        """Read the accounts anew and plan; nothing is sent."""
        plan = await self._made(asked)
        _remember(self._asked, plan.plan_id, asked)
        return plan

    async def _made(self, asked: Asked) -> RepairPlan:
        looks = await asyncio.gather(*(self._look(account_id) for account_id in asked.accounts))
        found: dict[str, Found] = {}
        unread: list[tuple[str, str, str]] = []
        for account_id, seen in zip(asked.accounts, looks, strict=True):
            if seen is None:
                unread.append((account_id, "", "the broker's positions and orders cannot be read now"))
                continue
            found[account_id] = Found(
                _behind(seen.drifts, asked.leader), seen.waiting, _behind(seen.reopenable, asked.leader)
            )
        run_id = run_name(asked.workspace, [d for f in found.values() for d in f.drifts])
        made = plan_repair(self._world(asked.workspace, found), asked.wish, run_id)
        return made if not unread else _with(made, unread)

    async def apply(self, workspace: str, plan_id: str, who: str, accounts: frozenset[str] | None) -> Repair:
        """Carry out a previewed plan; durable when it returns. Raises NoSuchRepair, RepairChanged, StoreError."""
        asked = self._asked.get(plan_id)
        mine = asked is not None and asked.workspace == workspace
        if asked is None or not mine or not (accounts is None or accounts.issuperset(asked.accounts)):
            raise NoSuchRepair("There is no such plan (any more): preview the repair again.")
        if (done := self._applied(plan_id)) is not None:
            return done
        plan = await self._made(asked)
        if (
            done := self._applied(plan_id)
        ) is not None:  # somebody else approved it while the accounts were read
            return done
        if plan.plan_id != plan_id:
            raise RepairChanged(
                "Positions, orders or limits are not those of the preview any more: preview again."
            )
        if not plan.intents:
            return Repair(plan, applied=False)
        _remember(self._done, plan_id, plan)
        await self._send(plan, who)
        return Repair(plan, applied=True)

    def _applied(self, plan_id: str) -> Repair | None:
        done = self._done.get(plan_id)
        return (
            Repair(done, applied=True)
            if done is not None and plan_id in self._state.book.sync.applied
            else None
        )

    def lift(self, workspace: str, account_id: str, symbol: str, who: str) -> None:
        """A person has looked: entries of the account (or of one contract) go on, foreign contracts are accepted."""
        self._log.note(workspace, EntriesBlocked(account_id, "", symbol, who))

    # sending -----------------------------------------------------------------------------------------------

    def _send(self, plan: RepairPlan, who: str) -> "asyncio.Future[Committed]":
        """Make it durable, then send it through the fan-out like everything else."""
        clock = self._state.clock
        stamp = Stamp(clock.monotonic_ns(), clock.monotonic_ns(), 0)
        future = self._log.decide(plan.workspace, RepairPlanned(plan, who))
        places = self._fanout.encode(plan.intents, stamp)
        asker = GATEWAY if who == GATEWAY else "person"
        self._sent[asker] = self._sent.get(asker, 0) + 1

        def committed(done: "asyncio.Future[Committed]") -> None:
            if not done.cancelled() and done.exception() is None:
                self._fanout.dispatch(places, clock.monotonic_ns())
                self.on_sent(plan)

        future.add_done_callback(committed)
        return future


async def _unseen(_account_id: str) -> Found | None:
    """Before the circle is closed nobody reads."""
    return None


def _behind(drifts: Sequence[Drift], leader: str) -> tuple[Drift, ...]:
    return tuple(d for d in drifts if not leader or d.leader == leader)


def _with(plan: RepairPlan, unread: Sequence[tuple[str, str, str]]) -> RepairPlan:
    return replace(plan, waiting=(*plan.waiting, *unread))


def run_name(workspace: str, drifts: Sequence[Drift]) -> str:
    """The id of a comparison: by what it found."""
    text = repr((workspace, [tuple(d) for d in drifts]))
    return "dr" + blake2b(text.encode(), digest_size=10).hexdigest()


_V = TypeVar("_V")


def _remember(memory: OrderedDict[str, _V], key: str, value: _V) -> None:
    """Bounded: the oldest leaves first."""
    memory[key] = value
    if len(memory) > PREVIEWS_MAX:
        memory.popitem(last=False)
