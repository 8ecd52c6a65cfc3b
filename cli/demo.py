"""`kopitra demo`: the main job from one command."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import typer
from rich.live import Live

from cli.local.board import addresses, board, budget
from cli.local.gateway import stop_signal
from cli.local.measures import HOPS, Counts, Verdict, counts, hop_times, quantile, verdict
from cli.local.player import Played, Player
from cli.local.scenario import FOLLOWERS
from cli.local.stage import Stage, chosen_brokers, stage
from cli.rim import INTERRUPTED, NO, Stop, err, give_json, progress, run, say

#: pictures per second of the live table
_PICTURES_PER_S: Final = 8


def demo(
    once: bool = typer.Option(False, "--once", help="Play, check, report and end."),
    as_json: bool = typer.Option(False, "--json", help="The report as one JSON object on standard output."),
    port: int = typer.Option(0, min=0, max=65_535, help="The gateway's port; 0 takes any."),
    broker: list[str] = typer.Option(
        [], help="The two brokers that take part (twice); left out: the first two."
    ),
    data_dir: Path = typer.Option(Path(".kopitra/demo"), help="Its data; thrown away at every start."),
) -> None:
    """Run the main job: a database, two simulated brokers, the gateway, one leader and 20 followers.

    It plays a TradingView alert, an EA's signal sent twice, and a leader trading by hand, and checks each
    follower against plain arithmetic and the brokers' own ledgers. Exit code 1 when anything differs.

    Example: kopitra demo --once --json
    """
    run(_demo(once, as_json, port, broker, data_dir))


async def _demo(once: bool, as_json: bool, port: int, brokers: Sequence[str], data_dir: Path) -> None:
    chosen = chosen_brokers(brokers)
    stopped = stop_signal()
    work = asyncio.ensure_future(_run(once, as_json, port, chosen, data_dir, stopped))
    asked = asyncio.ensure_future(stopped.wait())
    await asyncio.wait([work, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not work.done():
        with progress("taking everything down"), contextlib.suppress(asyncio.CancelledError):
            work.cancel()
            await work
        if once:
            raise Stop("interrupted", INTERRUPTED)
        return
    work.result()


async def _run(
    once: bool, as_json: bool, port: int, brokers: tuple[str, str], data_dir: Path, stopped: asyncio.Event
) -> None:
    with progress("starting database, simulators and gateway"):
        setting = stage(data_dir, brokers, FOLLOWERS, port)
        scene = await setting.__aenter__()
    try:
        played = await _play(scene)
        found = await _judged(scene, played)
        await _report(scene, played, found, as_json)
        differences = (*played.differences, *found.differences)
        for line in differences:
            say(f"DIFFERS: {line}")
        if not once:
            say("Everything stays up until Ctrl-C.")
            await stopped.wait()
    finally:
        await setting.__aexit__(None, None, None)
    if differences:
        raise Stop(f"{len(differences)} things are not as they must be; the lines above name them.", NO)


async def _play(scene: Stage) -> Played:
    with Live(console=err, refresh_per_second=_PICTURES_PER_S, transient=False) as live:
        shown: Callable[[Played], None] = lambda played: live.update(board(scene, played))  # noqa: E731 - one use
        played = await Player(scene, shown).play()
        live.update(board(scene, played, whole=True))
        return played


async def _judged(scene: Stage, played: Played) -> Verdict:
    places = {spec.account: spec.slot for spec in scene.followers}
    return await verdict(scene.house.db, scene.floors, places)


async def _report(scene: Stage, played: Played, found: Verdict, as_json: bool) -> None:
    signals = list(played.signals.values())
    times = await hop_times(scene.house.db, signals, [spec.account for spec in scene.followers])
    totals = counts(signals, len(scene.followers))
    err.print(budget(times))
    err.print(addresses(scene))
    if as_json:
        give_json(_as_json(totals, found, times))
    else:
        say(
            f"{totals.signals} signals x {totals.followers} followers = {totals.legs} legs: "
            f"{totals.approved} approved, {totals.skipped} skipped, {totals.refused} refused; "
            f"{totals.filled} orders filled, {found.duplicates} doubled, {found.lost} lost"
        )


def _as_json(totals: Counts, found: Verdict, times: Mapping[str, Sequence[float]]) -> dict[str, object]:
    hops = {
        name: {key: round(quantile(times[name], key), 3) for key in ("p50", "p99")}
        for name in dict.fromkeys(hop.name for hop in HOPS)
        if times[name]
    }
    return {**asdict(totals), "duplicates": found.duplicates, "lost": found.lost, "hops_ms": hops}
