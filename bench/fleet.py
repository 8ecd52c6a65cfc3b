"""The followers of the bench: simulators in processes of their own, the tap in front, accounts, logins and rules."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx2
import msgspec

from bench.rig import ROOT, Process
from bench.tap import Face, Tap
from brokers import registry
from cli.local.simulators import SimReady, SimSpec
from gateway_container.config_source import CREDENTIALS_FIELD
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.limits import RiskLimits
from kopitra.ports import SimAccount
from kopitra.store.accounts import AccountRow, LoginRow, create_account, create_login
from kopitra.store.encoding import encode
from kopitra.store.keys import KeyRow, hash_secret
from kopitra.store.leaders import LeaderRow, create_leader
from kopitra.store.migrate import migrate
from kopitra.store.pool import Database, values_of
from kopitra.store.rules import RuleRow, create_rule
from kopitra.store.sealing import FileMasterKey, add_data_key, load_sealer
from kopitra.store.workspaces import WorkspaceRow, create_workspace

WORKSPACE, LEADER = "bench", "bench-leader"
#: as in bench/templates/signal.http
KEY_ID, KEY_SECRET = "bench000000000000", "0123456789abcdef0123456789abcdef"
ACCOUNTS_PER_LOGIN = 10
KEY_RATE = 10**8  #: per minute
#: Risk limits are checked for every order; they are only wide enough not to stop the load.
LIMITS = RiskLimits(
    max_order_qty=Decimal(100),
    max_position_qty=Decimal(10**9),
    max_notional=Decimal(10**15),
    daily_loss=Decimal(10**9),
    max_orders_per_minute=10**9,
)
#: What a broker's budget would refuse, and the distance of connects that protects a real one.
_WIDE = "1000000000"


@dataclass(frozen=True, slots=True)
class Login:
    """One login behind the tap."""

    login_id: str
    broker: str
    settings: Mapping[str, str]
    credentials: Mapping[str, str]
    accounts: tuple[str, ...]


class Tuning(msgspec.Struct, frozen=True):
    """brokers/<code>/bench.json: what a login and its simulator are told, so that no budget stops the load."""

    login: dict[str, str] = {}
    simulator: dict[str, int] = {}
    #: the budgets that the broker really grants, for loads that shall meet them
    own: dict[str, str] = {}
    #: ends of the paths that log in
    logins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that stands behind a gateway of the bench."""

    tap: Tap
    logins: tuple[Login, ...]
    #: the followers' numbers as they stand in an order on the wire
    numbers: tuple[int, ...]
    stop: Callable[[], None]
    #: broker -> where its simulator takes commands
    controls: Mapping[str, str] = field(default_factory=dict[str, str])
    #: process ids of the simulators
    simulators: tuple[int, ...] = ()


def launch(n: int, name: str, *, pass_through: bool = False, tuned: bool = True) -> Fleet:
    """Simulators of all brokers with n accounts together, and the tap that stands in front of them.

    Without `tuned` the brokers' own budgets hold.
    """
    with ExitStack() as stack:
        told: list[SimReady] = []
        pids: list[int] = []
        for spec in _specs(n):
            argv = [sys.executable, "-m", "cli.local.simulators"]
            process = Process(f"{name}-sim-{spec.broker}", argv, first=msgspec.json.encode(spec).decode())
            stack.callback(process.stop)
            pids.append(process.pid)
            told.append(msgspec.convert(process.ready, SimReady))
        faces = [Face(ROOT / "brokers" / sim.broker / "order.wire", _port(sim.control_url)) for sim in told]
        tap = Tap(faces, pass_through=pass_through, name=f"{name}-tap")
        stack.callback(tap.stop)
        logins: list[Login] = []
        numbers: list[int] = []
        for sim, face_port in zip(told, tap.face_ports, strict=True):
            logins += _logins(sim, face_port, n, tuned)
            numbers += _numbers(sim, tuned)
        controls = {sim.broker: _control(sim) for sim in told}
        return Fleet(tap, tuple(logins), tuple(numbers), stack.pop_all().close, controls, tuple(pids))


def _specs(n: int) -> list[SimSpec]:
    brokers = sorted(registry())
    specs: list[SimSpec] = []
    for place, broker in enumerate(brokers):
        share = n // len(brokers) + (place < n % len(brokers))
        names = [f"{broker}{number}" for number in range(share)]
        logins = {
            f"user{first}": tuple(
                SimAccount(account, Decimal(100_000), {})
                for account in names[first : first + ACCOUNTS_PER_LOGIN]
            )
            for first in range(0, share, ACCOUNTS_PER_LOGIN)
        }
        if logins:
            specs.append(SimSpec(broker, logins))
    return specs


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1].split("/")[0])


def _control(sim: SimReady) -> str:
    base = sim.control_url.removesuffix("/")
    return base if base.endswith("/_sim") else f"{base}/_sim"


def tuning_of(broker: str) -> Tuning:
    return msgspec.json.decode((ROOT / "brokers" / broker / "bench.json").read_bytes(), type=Tuning)


def _logins(sim: SimReady, face_port: int, n: int, tuned: bool) -> list[Login]:
    """The simulator's own logins, with the tap's address in the place of the simulator's."""
    tuning = tuning_of(sim.broker)
    settings = tuning.login if tuned else tuning.own
    direct = f":{_port(sim.control_url)}"
    accounts = {name: spec for s in _specs(n) if s.broker == sim.broker for name, spec in s.logins.items()}
    return [
        Login(
            f"{sim.broker}-{name}",
            sim.broker,
            {k: v.replace(direct, f":{face_port}") for k, v in login.settings.items()} | settings,
            login.credentials,
            tuple(a.broker_account for a in accounts[name]),
        )
        for name, login in sim.logins.items()
    ]


class _Spec(msgspec.Struct):
    account_id: int
    name: str


class _State(msgspec.Struct):
    spec: _Spec


def _numbers(sim: SimReady, tuned: bool) -> list[int]:
    """Lift the simulator's own limits if so wished, and ask it for its account numbers."""
    root = _control(sim)
    if tuned:
        lifted = tuning_of(sim.broker).simulator
        httpx2.post(f"{root}/set-settings", json=lifted, trust_env=False).raise_for_status()
    answer = httpx2.get(f"{root}/accounts", trust_env=False).raise_for_status()
    return [state.spec.account_id for state in msgspec.json.decode(answer.content, type=list[_State])]


async def furnish(dsn: str, fleet: Fleet, key_file: Path) -> None:
    """Make the database of a gateway with this fleet: one leader, its key, n followers that copy 1 : 1."""
    await migrate(dsn)
    now = datetime.now(UTC)
    master = FileMasterKey(key_file)
    async with Database(dsn, "bench") as db:
        await create_workspace(db, WorkspaceRow(WORKSPACE, "bench", now))
        await add_data_key(db, master, WORKSPACE, now)
        sealer = await load_sealer(db, master)
        await create_leader(db, LeaderRow(WORKSPACE, LEADER, "leader", b"{}"))
        await add_key(db, KEY_ID, LEADER, LEADER)
        for login in fleet.logins:
            sealed = sealer.seal(WORKSPACE, login.login_id, CREDENTIALS_FIELD, encode(login.credentials))
            await create_login(
                db, LoginRow(WORKSPACE, login.login_id, login.broker, "bench", login.settings, sealed)
            )
            for name in login.accounts:
                await create_account(
                    db, AccountRow(WORKSPACE, f"f-{name}", login.login_id, name, name, {}, encode(LIMITS))
                )
                rule = rule_of(name)
                await create_rule(
                    db, RuleRow(WORKSPACE, rule.rule_id, LEADER, rule.account_id, encode(rule), now, "bench")
                )


async def add_key(db: Database, key_id: str, leader: str, account: str) -> None:
    """An EA's key for this leader; all of them have the same secret."""
    now = datetime.now(UTC)
    key = KeyRow(
        WORKSPACE,
        key_id,
        leader,
        account,
        "bench",
        hash_secret(KEY_SECRET),
        now,
        now + timedelta(days=1),
        rate_per_minute=KEY_RATE,
    )
    await db.run(_KEY_SQL, values_of(key))


async def add_leader(db: Database, leader: str, followers: Sequence[str]) -> None:
    """One more leader, and its rules for these broker accounts."""
    now = datetime.now(UTC)
    await create_leader(db, LeaderRow(WORKSPACE, leader, leader, b"{}"))
    for name in followers:
        rule = replace(rule_of(name), rule_id=f"r-{leader}-{name}", leader=leader)
        await create_rule(
            db, RuleRow(WORKSPACE, rule.rule_id, leader, rule.account_id, encode(rule), now, "bench")
        )


def rule_of(name: str) -> CopyRule:
    """One follower's rule: everything at its default, as most followers have it."""
    return CopyRule(f"r-{name}", 1, WORKSPACE, LEADER, f"f-{name}", max_age_s=Decimal(60))


_KEY_SQL = """
    insert into ea_keys (workspace, key_id, leader_id, account, label, secret_sha256, created_at, expires_at,
                         rate_per_minute)
    values (%(workspace)s, %(key_id)s, %(leader_id)s, %(account)s, %(label)s, %(secret_sha256)s, %(created_at)s,
            %(expires_at)s, %(rate_per_minute)s)"""
