"""The demo's stage: database, simulators, rows of the house and the gateway, all started and all taken down."""

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from brokers import registry
from cli.house import House, who_asks
from cli.local.floor import Floor
from cli.local.gateway import environment_of, start_gateway
from cli.local.postgres import EmbeddedPostgres
from cli.local.process import Child
from cli.local.scenario import (
    ACCOUNTS_PER_LOGIN,
    ASK,
    BID,
    EA_ACCOUNT,
    LEADER,
    LEADER_ACCOUNT,
    LEADER_EQUITY,
    WORKSPACE,
    FollowerSpec,
    Slot,
)
from cli.local.simulators import SimSpec, Simulator, start_simulator
from cli.logins import store_login
from cli.rim import WRONG_ARGUMENTS, Stop, progress
from cli.rules import rule_id_of, store_rule
from cli.typed import changed_limits, changed_rule
from kopitra.clock import SystemClock
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.instruments import front_month
from kopitra.domain.limits import RiskLimits
from kopitra.ports import SimAccount
from kopitra.settings import Settings
from kopitra.store.accounts import AccountRow, LoginRow, create_account
from kopitra.store.encoding import encode
from kopitra.store.hooks import HookRequest, issue_hook
from kopitra.store.keys import KeyRequest, issue_key
from kopitra.store.leaders import LeaderRow, create_leader
from kopitra.store.migrate import migrate
from kopitra.store.pool import Database

SHARD: Final = "main"
#: brokers that take part
BROKERS_COUNT: Final = 2
SEED: Final = 7
_HTTP_TIMEOUT_S: Final = 10.0
#: seconds until all sessions must be up
HEALTHY_TIMEOUT_S: Final = 20.0
_LOOK_EVERY_S: Final = 0.02
_PRICES: Final = re.compile(r"^kopitra_prices_known (\S+)", re.MULTILINE)


class _Health(msgspec.Struct):
    status: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    house: House
    floors: tuple[Floor, Floor]
    gateway: Child
    url: str
    http: httpx2.AsyncClient
    token: str
    hook_path: str
    #: product -> contract that trades
    contracts: Mapping[str, str]
    rules: Mapping[str, CopyRule]
    followers: Sequence[FollowerSpec]


def chosen_brokers(given: Sequence[str]) -> tuple[str, str]:
    """The two that take part: those that were asked for, else the first two. Raises Stop."""
    known = list(registry())
    chosen = list(given) or known[:BROKERS_COUNT]
    if len(chosen) != BROKERS_COUNT or not set(chosen) <= set(known):
        raise Stop(
            f"The demo needs {BROKERS_COUNT} of the brokers {', '.join(known)}: name them by --broker.",
            WRONG_ARGUMENTS,
        )
    return chosen[0], chosen[1]


def login_of(spec: FollowerSpec, followers: Sequence[FollowerSpec]) -> str:
    """Followers of one broker share logins, a few accounts each."""
    mates = [other.account for other in followers if other.slot == spec.slot]
    return f"trader-{'ab'[spec.slot]}{1 + mates.index(spec.account) // ACCOUNTS_PER_LOGIN}"


def sim_name(account: str) -> str:
    """What the broker calls an account."""
    return f"SIM-{account.upper()}"


def _logins(followers: Sequence[FollowerSpec], slot: Slot) -> dict[str, tuple[SimAccount, ...]]:
    found: dict[str, tuple[SimAccount, ...]] = {}
    if slot == 0:
        found["boss"] = (SimAccount(sim_name(LEADER_ACCOUNT), LEADER_EQUITY, {}),)
    for spec in followers:
        if spec.slot == slot:
            name = login_of(spec, followers)
            found[name] = (*found.get(name, ()), SimAccount(sim_name(spec.account), spec.equity, spec.flags))
    return found


@asynccontextmanager
async def stage(
    folder: Path, brokers: tuple[str, str], followers: Sequence[FollowerSpec], port: int, broker_ms: int
) -> AsyncGenerator[Stage]:
    """Start everything in a fresh folder, in the order in which it is needed; stop it in the reverse order.

    `broker_ms`: how long the simulated brokers take to answer a request; their streams tell of fills at once.
    """
    async with AsyncExitStack() as stack:
        with progress("1 of 4: a fresh database"):
            dsn = _fresh_database(folder, stack)
            await migrate(dsn)
        with progress(f"2 of 4: the simulators of {' and '.join(brokers)}"):
            sims = await _simulators(stack, folder, brokers, followers)
        floors = [await _floor(stack, sim) for sim in sims]
        contracts = _contracts()
        for floor in floors:
            for contract in contracts.values():
                await floor.command("set-price", symbol=contract, bid=str(BID), ask=str(ASK), last=str(ASK))
            await floor.command("set-settings", ack_delay_ms=broker_ms)
        settings = Settings(data_dir=folder, key_file=folder / "master.key")
        db = await stack.enter_async_context(Database(dsn, "kopitra demo", who_asks()))
        house = House(db, settings, SystemClock(), who_asks())
        with progress(f"3 of 4: a leader and {len(followers)} followers"):
            rules = await _furnish(house, sims, followers)
            token, hook_path = await _doors(house)
        environment = environment_of(settings, dsn, "127.0.0.1", port) | {"KOPITRA_LOG_LEVEL": "WARNING"}
        with progress("4 of 4: the gateway, until every account is logged in"):
            gateway, url = await start_gateway(environment, folder / "gateway.log")
            stack.push_async_callback(gateway.stop)
            http = httpx2.AsyncClient(base_url=url, timeout=_HTTP_TIMEOUT_S, trust_env=False)
            await stack.enter_async_context(http)
            await _healthy(gateway, http)
            await _priced(gateway, http, len(contracts))
        yield Stage(
            house, (floors[0], floors[1]), gateway, url, http, token, hook_path, contracts, rules, followers
        )


async def _healthy(gateway: Child, http: httpx2.AsyncClient) -> None:
    """Wait until every session is up: a follower whose broker is not there yet would refuse the first signal."""
    loop = asyncio.get_running_loop()
    end = loop.time() + HEALTHY_TIMEOUT_S
    said = ""
    while gateway.running and loop.time() < end:
        said = (await http.get("/trade-agent/v1/health")).text
        if _status(said) == "healthy":
            return
        await asyncio.sleep(_LOOK_EVERY_S)
    raise Stop(f"The gateway does not become healthy: {said}. See gateway.log.")


async def _priced(gateway: Child, http: httpx2.AsyncClient, products: int) -> None:
    """Wait for the quotes that followers who size by value need: the first alert carries no price."""
    loop = asyncio.get_running_loop()
    end = loop.time() + HEALTHY_TIMEOUT_S
    while gateway.running and loop.time() < end:
        known = _PRICES.search((await http.get("/metrics")).text)
        if known is not None and float(known[1]) >= products:
            return
        await asyncio.sleep(_LOOK_EVERY_S)
    raise Stop("The gateway hears no quotes from the simulators. See gateway.log.")


def _status(said: str) -> str:
    return msgspec.json.decode(said, type=_Health).status


def _fresh_database(folder: Path, stack: AsyncExitStack) -> str:
    """An empty server of its own: what an earlier run left is thrown away.

    Blocks the loop for its second on purpose: Ctrl-C must not find a server that is only half ours.
    """
    server = EmbeddedPostgres(folder)
    if server.pid is not None:
        raise Stop(f"A demo is running in {folder} already: end it, or choose another --data-dir.")
    shutil.rmtree(folder, ignore_errors=True)
    stack.callback(server.stop)
    return server.start()


async def _simulators(
    stack: AsyncExitStack, folder: Path, brokers: tuple[str, str], followers: Sequence[FollowerSpec]
) -> list[Simulator]:
    async def start(slot: Slot) -> Simulator:
        spec = SimSpec(brokers[slot], _logins(followers, slot), seed=SEED)
        sim = await start_simulator(spec, folder / f"simulator-{slot + 1}.log")
        stack.push_async_callback(sim.child.stop)
        return sim

    return list(await asyncio.gather(start(0), start(1)))


async def _floor(stack: AsyncExitStack, sim: Simulator) -> Floor:
    http = httpx2.AsyncClient(base_url=sim.told.control_url, timeout=_HTTP_TIMEOUT_S, trust_env=False)
    floor = Floor(sim.told.broker, await stack.enter_async_context(http))
    await floor.learn()
    return floor


def _contracts() -> dict[str, str]:
    today = SystemClock().now().date()
    return {root: front_month(root, today).symbol for root in ("ES", "MES")}


async def _furnish(
    house: House, sims: Sequence[Simulator], followers: Sequence[FollowerSpec]
) -> dict[str, CopyRule]:
    """Workspace, logins, accounts, leader and rules, by the code of the commands."""
    await house.make_workspace(WORKSPACE, "Demo")
    for sim in sims:
        for name, login in sim.told.logins.items():
            row = LoginRow(WORKSPACE, name, sim.told.broker, name, login.settings)
            await store_login(house, row, login.credentials)
    await create_account(house.db, _account(LEADER_ACCOUNT, "boss", RiskLimits()))
    await create_leader(house.db, LeaderRow(WORKSPACE, LEADER, "Leader", b"{}", LEADER_ACCOUNT))
    rules: dict[str, CopyRule] = {}
    for spec in followers:
        limits = changed_limits(RiskLimits(), spec.limits)
        await create_account(house.db, _account(spec.account, login_of(spec, followers), limits))
        empty = CopyRule(rule_id_of(LEADER, spec.account), 1, WORKSPACE, LEADER, spec.account)
        rules[spec.account] = changed_rule(empty, spec.rule)
        await store_rule(house, rules[spec.account])
    return rules


def _account(account: str, login: str, limits: RiskLimits) -> AccountRow:
    return AccountRow(WORKSPACE, account, login, sim_name(account), account, {}, encode(limits))


async def _doors(house: House) -> tuple[str, str]:
    """An EA's key and a TradingView hook: (token, path)."""
    sealer = await house.sealer()
    request = KeyRequest(WORKSPACE, LEADER, EA_ACCOUNT, "demo EA")
    key = await issue_key(house.db, sealer, request, house.clock.now())
    hook = await issue_hook(house.db, HookRequest(WORKSPACE, LEADER, "tradingview", {}))
    return key.token, f"/trade-agent/v1/webhooks/{hook.path}"
