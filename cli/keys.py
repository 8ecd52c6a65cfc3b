"""`kopitra key`: keys of expert advisors and other clients of the API. A key is shown once."""

import typer

from cli.house import open_house
from cli.rim import NO, AsJson, Stop, Workspace, Yes, give_json, listing, run, say
from kopitra.store.keys import (
    RATE_PER_MINUTE,
    IssuedKey,
    KeyRequest,
    issue_key,
    list_keys,
    revoke_key,
    rotate_key,
)

app = typer.Typer(no_args_is_help=True, help="Keys of EAs and API clients.")


@app.command()
def issue(
    leader: str = typer.Argument(help="The leader that the key speaks for."),
    account: str = typer.Option(..., help="What X-TradeAgent-Account must say."),
    label: str = typer.Option("", help="Where it is used."),
    allow: list[str] = typer.Option([], metavar="CIDR", help="Addresses it may be used from (repeatable)."),
    rate: int = typer.Option(RATE_PER_MINUTE, min=1, help="Requests per minute."),
    require_signature: bool = typer.Option(False, help="Refuse requests without an HMAC signature."),
    workspace: Workspace = "main",
) -> None:
    """Issue a key for 30 days. Its token and signing secret are shown once, as JSON on standard output.

    Example: kopitra key issue lead --account 50K-1234 --label "MT5, office" --allow 203.0.113.0/24
    """
    request = KeyRequest(workspace, leader, account, label, require_signature, tuple(allow), rate)
    run(_issue(request))


async def _issue(request: KeyRequest) -> None:
    async with open_house() as house:
        await house.need_leader(request.workspace, request.leader_id)
        issued = await issue_key(house.db, await house.sealer(), request, house.clock.now())
    _show(issued)


def _show(issued: IssuedKey) -> None:
    row = issued.row
    give_json(
        {
            "key": row.key_id,
            "token": issued.token,
            "signing_secret": issued.signing_secret,
            "account": row.account,
            "expires_at": row.expires_at.isoformat(timespec="seconds"),
        }
    )
    say("This is the only time that the token and the signing secret are shown: keep them now.")


@app.command()
def rotate(key: str = typer.Argument(help="Its id."), workspace: Workspace = "main") -> None:
    """Issue a successor with the same rights; the old key works for 7 days more.

    Example: kopitra key rotate 4be1c2a90f3d7788
    """
    run(_rotate(workspace, key))


async def _rotate(workspace: str, key: str) -> None:
    async with open_house() as house:
        issued = await rotate_key(house.db, await house.sealer(), workspace, key, house.clock.now())
    _show(issued)


@app.command()
def revoke(
    key: str = typer.Argument(help="Its id."), yes: Yes = False, workspace: Workspace = "main"
) -> None:
    """End a key now; running gateways refuse it within a second.

    Example: kopitra key revoke 4be1c2a90f3d7788 --yes
    """
    if not yes:
        typer.confirm(f"End the key {key} now?", abort=True, err=True)
    run(_revoke(workspace, key))


async def _revoke(workspace: str, key: str) -> None:
    async with open_house() as house:
        found = await revoke_key(house.db, workspace, key, house.clock.now())
    if not found:
        raise Stop(f"There is no key {key!r} in workspace {workspace}: see `kopitra key list`.", NO)
    say(f"key {key} revoked")


@app.command("list")
def list_all(workspace: Workspace = "main", as_json: AsJson = False) -> None:
    """List the keys of a workspace; their secrets are not known to anybody.

    Example: kopitra key list --json
    """
    run(_list(workspace, as_json))


async def _list(workspace: str, as_json: bool) -> None:
    async with open_house() as house:
        found = await list_keys(house.db, workspace)
        now = house.clock.now()
    rows = [
        {
            "key": row.key_id,
            "leader": row.leader_id,
            "account": row.account,
            "label": row.label,
            "valid": row.valid_at(now),
            "expires_at": row.expires_at.isoformat(timespec="seconds"),
            "revoked_at": row.revoked_at and row.revoked_at.isoformat(timespec="seconds"),
            "addresses": " ".join(row.allow_list),
        }
        for row in found
    ]
    listing("Keys", rows, as_json=as_json, empty="None yet: run `kopitra key issue --help`.")
