"""`kopitra projections`: the rows that queries read, made from the journal and makeable again."""

import typer

from cli.house import House, open_house
from cli.rim import err, give, run, say
from gateway_container.engine.projector import rebuild as make_again
from kopitra.store.journal_reader import head_seq, shards

app = typer.Typer(no_args_is_help=True, help="Rows for queries: orders, executions, positions, holdings.")


@app.command()
def rebuild(shard: str | None = typer.Option(None, help="One shard; left out: all of the journal.")) -> None:
    """Throw the rows away and make them again from the journal. A gateway may run meanwhile.

    Until it is done, queries show less than there is, and changes that need to know what is held are refused.

    Example: kopitra projections rebuild --shard main
    """
    run(_rebuild(shard))


async def _rebuild(shard: str | None) -> None:
    async with open_house() as house:
        names = [shard] if shard is not None else await shards(house.db)
        for name in names:
            await _remake(house, name)
    if not names:
        say("The journal is empty: there is nothing to show.")


async def _remake(house: House, shard: str) -> None:
    last = await head_seq(house.db, shard)
    with err.status(f"{shard}: reading {last} journal rows") as moving:
        seq = await make_again(
            house.db, shard, lambda at: moving.update(f"{shard}: journal row {at} of {max(at, last)}")
        )
    give(f"{shard}: shows the journal up to row {seq}")
