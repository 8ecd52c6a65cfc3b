"""Who lives in a simulated world: brokers, accounts, followers and their rules, keys; all drawn from the seed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from random import Random
from typing import Final

from brokers._kit.matching import Instrument
from gateway_container.api.doors import KeyGrant, OperatorGrant
from gateway_container.engine.config import AccountConfig, GatewayConfig, LeaderConfig, LoginConfig
from kopitra.domain.copy_rules import CopyRule, Sizing
from kopitra.domain.instruments import INSTRUMENTS, front_month
from tests.faults.gateways import START, Keyring
from tests.faults.rude_adapter import capabilities
from tests.faults.rude_broker import Count, Judge, RudeBroker
from tests.faults.swarm import Plan
from tests.faults.virtual_loop import VirtualClock, VirtualLoop

WORKSPACE: Final = "ws1"
#: the leader whose EA posts, and the one whose account is read
EA_LEADER: Final = "lead"
BOSS_LEADER: Final = "chief"
BOSS: Final = "boss"
ROOTS: Final = ("ES", "NQ")
CODES: Final = ("alpha", "beta")
_SECRET: Final = "0123456789abcdef0123456789abcdef"
EA_HEADERS: Final = {
    "authorization": f"Bearer kpt_ea1_{_SECRET}",
    "x-tradeagent-account": "acc1",
    "content-type": "application/json",
}
OPERATOR_HEADERS: Final = {
    "authorization": f"Bearer kop_op1_{_SECRET}",
    "content-type": "application/json",
}


def contracts() -> dict[str, str]:
    """Product -> the contract that everybody trades."""
    return {root: front_month(root, START.date()).symbol for root in ROOTS}


def keyring() -> Keyring:
    """One EA, one admin."""
    digest, later = sha256(_SECRET.encode()).digest(), START + timedelta(days=30)
    ea = KeyGrant("ea1", WORKSPACE, EA_LEADER, "acc1", digest, later, rate_per_minute=6_000)
    admin = OperatorGrant("op1", WORKSPACE, "admin", "admin", digest, later)
    return Keyring({"ea1": ea}, {"op1": admin})


@dataclass(frozen=True, slots=True)
class Tools:
    """What brokers are made with."""

    loop: VirtualLoop
    judge: Judge
    count: Count


def make_brokers(plan: Plan, tools: Tools) -> tuple[RudeBroker, ...]:
    """Two brokers that differ in everything that brokers differ in."""
    rng = Random(f"{plan.seed} brokers")
    brokers: list[RudeBroker] = []
    for number, code in enumerate(CODES):
        clock = VirtualClock(tools.loop, START)
        clock.skew_s = plan.skews_s[2 + number]
        kinds = capabilities(
            brackets=rng.random() < 0.5,
            proves_absence=rng.random() < 0.75,
            dedups=rng.random() < 0.3,
        )
        broker = RudeBroker(code, kinds, clock, Random(f"{plan.seed} {code}"), tools.judge, tools.count)
        broker.displaces, broker.anonymous_fills = rng.random() < 0.5, rng.random() < 0.5
        broker.add_instruments([_instrument(root, symbol) for root, symbol in contracts().items()])
        brokers.append(broker)
    return tuple(brokers)


def _instrument(root: str, symbol: str) -> Instrument:
    known = INSTRUMENTS[root]
    return Instrument(symbol, known.tick_size, known.tick_value)


def make_config(plan: Plan, brokers: tuple[RudeBroker, ...]) -> GatewayConfig:
    """Accounts on both brokers, some behind one login; each follows one leader or both."""
    rng = Random(f"{plan.seed} accounts")
    accounts: dict[str, AccountConfig] = {}
    logins: dict[str, LoginConfig] = {}
    rules: dict[str, list[CopyRule]] = {EA_LEADER: [], BOSS_LEADER: []}
    for account_id in (BOSS, *(f"f{n + 1}" for n in range(plan.followers))):
        broker = rng.choice(brokers)
        shared = rng.random() < 0.5 and account_id != BOSS
        login_id = f"login-{broker.code}" if shared else f"login-{account_id}"
        broker.add_account(account_id, login_id)
        logins[login_id] = LoginConfig(login_id, WORKSPACE, broker.code, {}, {})
        accounts[account_id] = AccountConfig(
            account_id, WORKSPACE, account_id, broker.code, login_id, account_id
        )
        if account_id != BOSS:
            _follow(rng, account_id, rules, plan.only)
    leaders = {
        EA_LEADER: LeaderConfig(EA_LEADER, WORKSPACE, EA_LEADER),
        BOSS_LEADER: LeaderConfig(BOSS_LEADER, WORKSPACE, BOSS_LEADER, BOSS),
    }
    return GatewayConfig(1, accounts, leaders, logins, {name: tuple(r) for name, r in rules.items()})


def _follow(rng: Random, account_id: str, rules: dict[str, list[CopyRule]], only: str) -> None:
    if only:
        rules[only].append(CopyRule(f"{only}-{account_id}", 1, WORKSPACE, only, account_id))
        return
    both = rng.random() < 0.25
    chosen = (EA_LEADER, BOSS_LEADER) if both else (EA_LEADER if rng.random() < 0.65 else BOSS_LEADER,)
    for leader in chosen:
        size = rng.choice(("1", "1", "2", "0.5"))
        rules[leader].append(
            CopyRule(
                f"{leader}-{account_id}",
                1,
                WORKSPACE,
                leader,
                account_id,
                sizing=Sizing("multiplier", Decimal(size)),
                mirror=rng.choice(("orders", "fills")),
                delay_ms=rng.choice((0, 0, 0, 200)),
            )
        )


def scopes_of(config: GatewayConfig) -> Callable[[str, str], tuple[tuple[str, str], ...]]:
    """Which switches cover an account under a leader."""

    def covering(account_id: str, leader: str) -> tuple[tuple[str, str], ...]:
        broker = config.accounts[account_id].broker
        return (
            ("workspace", WORKSPACE),
            ("account", account_id),
            ("leader", leader),
            ("broker", broker),
        )

    return covering
