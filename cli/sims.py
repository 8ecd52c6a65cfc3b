"""`kopitra sim`: the brokers' simulators, which speak their real wires on loopback."""

import asyncio
import json
from decimal import Decimal

import typer

from brokers import registry
from cli.local.gateway import stop_signal
from cli.local.simulators import SimLogin, SimReady, SimSpec, Simulator, some_accounts, start_simulator
from cli.rim import AsJson, Row, Stop, give, give_json, progress, run, say

app = typer.Typer(no_args_is_help=True, help="Simulated brokers, each in a process of its own.")


@app.command()
def up(
    brokers: list[str] = typer.Argument(None, help="Codes of the brokers; left out: all."),
    first_port: int = typer.Option(
        0, "--port", min=0, max=65_500, help="The first one's port, the next ones follow; 0: any."
    ),
    accounts: int = typer.Option(4, min=1, max=200, help="Accounts at each, all under the login `trader`."),
    balance: str = typer.Option("50000", help="What each account begins with."),
    seed: int = typer.Option(1, help="Seed of the faults, so that a run can be played again."),
    as_json: AsJson = False,
) -> None:
    """Start simulators and keep them up until Ctrl-C.

    Prices, faults, manual orders and the ledger are at CONTROL/_sim/<command>; see brokers/*/SIMULATOR.md.

    Example: kopitra sim up --port 9100 --accounts 10
    """
    chosen = brokers or list(registry())
    unknown = sorted(set(chosen) - set(registry()))
    if unknown:
        raise typer.BadParameter(f"no broker {unknown[0]!r}; known: {', '.join(registry())}")
    given = {"trader": tuple(some_accounts(accounts, _money(balance)))}
    specs = [SimSpec(code, given, first_port and first_port + n, seed) for n, code in enumerate(chosen)]
    run(_up(specs, as_json))


def _money(text: str) -> Decimal:
    if not text.replace(".", "", 1).isdigit():
        raise typer.BadParameter("the balance is a number such as 50000")
    return Decimal(text)


async def _up(specs: list[SimSpec], as_json: bool) -> None:
    stopped = stop_signal()
    running: list[Simulator] = []
    try:
        with progress("starting the simulators"):
            for spec in specs:
                running += [await start_simulator(spec)]
        _show(running, as_json)
        say('Ctrl-C stops them. Faults: POST CONTROL/_sim/set-settings, such as {"ack_delay_ms": 200}')
        await _until(stopped, running)
    finally:
        await asyncio.gather(*(sim.child.stop() for sim in running))


def _show(running: list[Simulator], as_json: bool) -> None:
    logins = [(sim.told, name, login) for sim in running for name, login in sim.told.logins.items()]
    if as_json:
        give_json([_row(told, name, login) for told, name, login in logins])
        return
    for told, _, login in logins:
        say(
            f"{told.broker} simulator: control and ledger at {told.control_url}/_sim/; its login, ready to paste:"
        )
        give(_login_command(told.broker, login))


def _row(told: SimReady, name: str, login: SimLogin) -> Row:
    return {
        "broker": told.broker,
        "control": told.control_url,
        "login": name,
        "secrets": " ".join(f"{key}={text}" for key, text in login.credentials.items()),
        "settings": " ".join(f"{key}={text}" for key, text in login.settings.items()),
    }


def _login_command(broker: str, login: SimLogin) -> str:
    settings = " ".join(f"-s {key}={text}" for key, text in login.settings.items())
    secrets = json.dumps(dict(login.credentials))
    return f"echo '{secrets}' | kopitra login create sim-{broker} --broker {broker} --secrets-from-stdin {settings}"


async def _until(stopped: asyncio.Event, running: list[Simulator]) -> None:
    ends = [asyncio.ensure_future(sim.child.wait()) for sim in running]
    asked = asyncio.ensure_future(stopped.wait())
    await asyncio.wait([*ends, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    gone = [sim.told.broker for sim in running if not sim.child.running]
    if gone and not stopped.is_set():
        raise Stop(f"The simulator of {gone[0]} has ended by itself.")
