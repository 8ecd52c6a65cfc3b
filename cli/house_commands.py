"""Commands about the house itself: version, migrate, gateway, verify, openapi."""

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from cli.house import database, open_house
from cli.local.gateway import environment_of, run_gateway
from cli.rim import NO, Stop, give, give_json, progress, run, say
from kopitra.settings import Settings
from kopitra.store.drafts import Head
from kopitra.store.journal_reader import VerifyResult, shards, verify
from kopitra.store.migrate import Stage, check_schema, migrate


def show_version() -> None:
    """Say which build this is.

    Example: kopitra version
    """
    try:
        give(version("kopitra"))
    except PackageNotFoundError:
        give("not installed: run `make setup`")


def migrate_schema(
    pre: bool = typer.Option(False, "--pre", help="Only what adds: before the new build starts."),
    post: bool = typer.Option(
        False, "--post", help="What takes away too: after the last old process is gone."
    ),
    check: bool = typer.Option(False, "--check", help="Change nothing; fail when something is missing."),
) -> None:
    """Bring the database to this build's schema. Without --pre everything is applied.

    Example: kopitra migrate --pre
    """
    run(_migrate("pre" if pre and not post else "post", check))


async def _migrate(stage: Stage, check: bool) -> None:
    with database(Settings()) as dsn:
        if check:
            await check_schema(dsn)
            say("the schema fits this build")
            return
        with progress("migrating"):
            done = await migrate(dsn, stage=stage)
    for title in done:
        give(title)
    say(f"{len(done)} applied" if done else "nothing to do")


def gateway(
    host: str | None = typer.Option(None, help="Address to listen on; default KOPITRA_HOST or 127.0.0.1."),
    port: int | None = typer.Option(
        None, min=0, max=65535, help="Port; 0 takes any. Default KOPITRA_PORT or 8080."
    ),
) -> None:
    """Run the gateway until Ctrl-C, with the embedded PostgreSQL where DATABASE_URL is not set.

    Example: kopitra gateway --port 8080
    """
    run(_gateway(host, port))


async def _gateway(host: str | None, port: int | None) -> None:
    settings = Settings()
    with database(settings) as dsn:
        if settings.database_url is None:
            with progress("migrating"):
                await migrate(dsn)
        else:
            await check_schema(dsn)
        code = await run_gateway(environment_of(settings, dsn, host, port))
    if code:
        raise Stop("The gateway has ended by itself; its last lines above say why.", code)


def verify_journal(
    shard: str | None = typer.Option(None, help="One shard; left out: all."),
    anchor: str | None = typer.Option(
        None, metavar="SEQ:HASH", help="A head seen earlier: shows a cut-off end."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON array on standard output."),
) -> None:
    """Walk the journal's hash chain and name the first row that does not fit. Exit code 1 when there is one.

    Example: kopitra verify --shard main
    """
    run(_verify(shard, _head(anchor), as_json))


def _head(anchor: str | None) -> Head | None:
    if anchor is None:
        return None
    seq, _, digest = anchor.partition(":")
    if not seq.isdecimal() or re.fullmatch(r"[0-9a-f]{64}", digest) is None:
        raise typer.BadParameter("must read SEQ:HASH, as `kopitra verify` prints it")
    return Head(int(seq), bytes.fromhex(digest))


async def _verify(shard: str | None, anchor: Head | None, as_json: bool) -> None:
    async with open_house() as house:
        with progress("walking the chain"):
            known = await shards(house.db)
            if shard is not None and shard not in known:
                raise Stop(f"The journal has no shard {shard!r}; known: {', '.join(known) or 'none'}.", NO)
            names = known if shard is None else [shard]
            found = [await verify(house.db, name, anchor) for name in names]
    if as_json:
        give_json([_as_row(result) for result in found])
    else:
        for result in found:
            give(_in_words(result))
        if not found:
            say("The journal is empty.")
    if any(result.bad is not None for result in found):
        raise Stop("The journal was changed after it was written: restore it from a backup.", NO)


def _as_row(result: VerifyResult) -> dict[str, object]:
    bad = result.bad
    return {
        "shard": result.shard,
        "rows": result.rows,
        "head": f"{result.head.seq}:{result.head.hash.hex()}",
        "bad": None if bad is None else {"seq": bad.seq, "fault": bad.fault, "text": bad.text},
    }


def _in_words(result: VerifyResult) -> str:
    if result.bad is not None:
        return f"{result.shard}: BAD at row {result.bad.seq} ({result.bad.fault}): {result.bad.text}"
    return f"{result.shard}: {result.rows} rows are whole; head {result.head.seq}:{result.head.hash.hex()}"


def openapi(
    file: Path | None = typer.Option(
        None, "--out", help="Write it here instead, such as docs/openapi/gateway.json."
    ),
) -> None:
    """Give the gateway's OpenAPI document; nothing has to run for that.

    Example: kopitra openapi --out docs/openapi/gateway.json
    """
    import json

    from gateway_container.app import openapi_document  # builds the whole application: only here

    text = json.dumps(openapi_document(), indent=2, ensure_ascii=False)
    if file is None:
        give(text)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
    say(f"{file} written")


def add_to(app: typer.Typer) -> None:
    """These stand at the top level."""
    app.command("version")(show_version)
    app.command("migrate")(migrate_schema)
    app.command("gateway")(gateway)
    app.command("verify")(verify_journal)
    app.command("openapi")(openapi)
