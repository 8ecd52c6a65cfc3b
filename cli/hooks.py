"""`kopitra hook`: webhook addresses for senders that cannot set headers. The address is shown once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer

from cli.house import House, open_house
from cli.rim import NO, WRONG_ARGUMENTS, AsJson, Stop, Workspace, Yes, give_json, listing, pairs, run, say
from kopitra.store.hooks import RATE_PER_MINUTE, HookRequest, HookRow, change_hook, issue_hook, list_hooks
from kopitra.wire.webhooks.reading import PRESETS, TEMPLATE
from kopitra.wire.webhooks.settings import InvalidSettings, parse_settings
from kopitra.wire.webhooks.template import InvalidTemplate, compile_template

app = typer.Typer(no_args_is_help=True, help="Webhook addresses for TradingView and similar senders.")

PATH = "/trade-agent/v1/webhooks/"

Settings = Annotated[
    list[str] | None,
    typer.Option("--setting", "-s", metavar="NAME=VALUE", help="A setting of the reader (repeatable)."),
]


@app.command()
def create(
    leader: str = typer.Argument(help="The leader that the sender speaks for."),
    preset: str = typer.Option("tradingview", help="How messages are read: a built-in reader, or template."),
    template: typer.FileText | None = typer.Option(
        None, help="A file with the template, for preset template."
    ),
    setting: Settings = None,
    allow: list[str] = typer.Option([], metavar="CIDR", help="Addresses that may send (repeatable)."),
    rate: int = typer.Option(RATE_PER_MINUTE, min=1, help="Messages per minute."),
    base: str = typer.Option(
        "", help="Where the gateway is reached, such as https://desk.example: for a whole URL."
    ),
    workspace: Workspace = "main",
) -> None:
    """Create a hook. Its address holds a secret and is shown once, as JSON on standard output.

    Example: kopitra hook create lead --preset tradingview --base https://desk.example
    """
    text = template.read() if template is not None else ""
    _check(preset, text, pairs(setting or [], "--setting"))
    request = HookRequest(
        workspace, leader, preset, pairs(setting or [], "--setting"), text, tuple(allow), rate
    )
    run(_create(request, base))


def _check(preset: str, template: str, settings: Mapping[str, str]) -> None:
    """Raises Stop for a hook that could never read a message."""
    if preset not in (*PRESETS, TEMPLATE):
        raise Stop(
            f"There is no preset {preset!r}; known: {', '.join(PRESETS)}, {TEMPLATE}.", WRONG_ARGUMENTS
        )
    try:
        parse_settings(settings)
        if preset == TEMPLATE:
            compile_template(template)
    except (InvalidSettings, InvalidTemplate) as error:
        raise Stop(str(error), WRONG_ARGUMENTS) from None


async def _create(request: HookRequest, base: str) -> None:
    async with open_house() as house:
        await house.need_leader(request.workspace, request.leader_id)
        issued = await issue_hook(house.db, request)
    path = PATH + issued.path
    give_json({"hook": issued.row.hook_id, "path": path, "url": base.rstrip("/") + path if base else None})
    say("This is the only time that the address is shown: keep it now.")


@app.command()
def change(
    hook: str = typer.Argument(help="Its id."),
    setting: Settings = None,
    active: bool | None = typer.Option(None, "--on/--off", help="Off: its messages are refused."),
    workspace: Workspace = "main",
) -> None:
    """Change a hook's settings, or switch it off and on.

    Example: kopitra hook change 9d41c0ffee001122 --off
    """
    run(_change(workspace, hook, pairs(setting or [], "--setting"), active))


@app.command()
def revoke(
    hook: str = typer.Argument(help="Its id."), yes: Yes = False, workspace: Workspace = "main"
) -> None:
    """Refuse the hook's messages from now on.

    Example: kopitra hook revoke 9d41c0ffee001122 --yes
    """
    if not yes:
        typer.confirm(f"Refuse what is sent to the hook {hook} from now on?", abort=True, err=True)
    run(_change(workspace, hook, {}, active=False))


async def _change(workspace: str, hook: str, settings: Mapping[str, str], active: bool | None) -> None:
    async with open_house() as house:
        row = await _the_hook(house, workspace, hook)
        _check(row.preset, row.template, {**row.settings, **settings})
        changed = replace(
            row,
            settings={**row.settings, **settings},
            active=row.active if active is None else active,
        )
        await change_hook(house.db, changed)
    say(f"hook {hook} is {'on' if changed.active else 'off'}; a running gateway takes it up within a second")


async def _the_hook(house: House, workspace: str, hook: str) -> HookRow:
    for row in await list_hooks(house.db, workspace):
        if row.hook_id == hook:
            return row
    raise Stop(f"There is no hook {hook!r} in workspace {workspace}: see `kopitra hook list`.", NO)


@app.command("list")
def list_all(workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """List the hooks of a workspace, without the secret part of their addresses.

    Example: kopitra hook list --json
    """
    run(_list(workspace, as_json))


async def _list(workspace: str, as_json: bool) -> None:
    async with open_house() as house:
        found = await list_hooks(house.db, workspace)
    rows = [
        {
            "hook": row.hook_id,
            "leader": row.leader_id,
            "preset": row.preset,
            "settings": " ".join(f"{name}={text}" for name, text in row.settings.items()),
            "addresses": " ".join(row.allow_list),
            "on": row.active,
        }
        for row in found
    ]
    listing("Hooks", rows, as_json=as_json, empty="None yet: run `kopitra hook create --help`.")
