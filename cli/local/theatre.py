"""The demo from curtain to curtain: everything up, the play, the verdict, everything down."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.live import Live

from cli.local.board import addresses, board, budget
from cli.local.gateway import stop_signal
from cli.local.measures import HOPS, Counts, Verdict, counts, hop_times, quantile, verdict
from cli.local.player import Played, Player
from cli.local.scenario import FOLLOWERS
from cli.local.stage import Stage, chosen_brokers, stage
from cli.rim import INTERRUPTED, NO, Stop, err, give_json, progress, say

#: pictures per second of the live table
_PICTURES_PER_S: Final = 8


class _Evening:
    """One performance: what was asked for, and whether the play is over."""

    def __init__(self, once: bool, as_json: bool, stopped: asyncio.Event) -> None:
        self.once = once
        self.as_json = as_json
        self.stopped = stopped
        self.over = False


async def perform(
    once: bool, as_json: bool, port: int, brokers: Sequence[str], data_dir: Path, broker_ms: int
) -> None:
    """Play; raises Stop when something differs. Without `once` everything stays up until somebody says stop."""
    evening = _Evening(once, as_json, stop_signal())
    setting = stage(data_dir, chosen_brokers(brokers), FOLLOWERS, port, broker_ms)
    work = asyncio.ensure_future(_run(evening, setting))
    asked = asyncio.ensure_future(evening.stopped.wait())
    await asyncio.wait([work, asked], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not (work.done() or evening.over):
        work.cancel()
        with progress("taking everything down"), contextlib.suppress(asyncio.CancelledError):
            await work
        raise Stop("interrupted", INTERRUPTED)
    await work


async def _run(evening: _Evening, setting: AbstractAsyncContextManager[Stage]) -> None:
    with progress("starting database, simulators and gateway"):
        scene = await setting.__aenter__()
    try:
        played = await _play(scene)
        found = await _judged(scene, played)
        await _report(scene, played, found, evening.as_json)
        differences = (*played.differences, *found.differences)
        for line in differences:
            say(f"DIFFERS: {line}")
        evening.over = True
        if not evening.once:
            say("Everything stays up until Ctrl-C.")
            await evening.stopped.wait()
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
    err.print()
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
