"""The demo from curtain to curtain: everything up, the play, the verdict, everything down."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.live import Live

from cli.local.board import Board, LastEntry, addresses, budget, oldest_first, signal_line
from cli.local.gateway import stop_signal
from cli.local.measures import HOPS, Counts, Verdict, counts, hop_times, quantile, verdict
from cli.local.player import Played, Player
from cli.local.scenario import FOLLOWERS
from cli.local.stage import Stage, chosen_brokers, stage
from cli.rim import INTERRUPTED, NO, Stop, err, give_json, progress, say

#: pictures per second of the live table
_PICTURES_PER_S: Final = 8
#: seconds that somebody may look at each step; without a terminal nobody does
_LOOK_S: Final = 0.8


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
    scene = await setting.__aenter__()
    try:
        played = await _play(scene, 0.0 if evening.once else _LOOK_S)
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


async def _play(scene: Stage, look_s: float) -> Played:
    """On a terminal the table moves while the play goes on; elsewhere each signal is a line when it is settled."""
    played = Played()
    if err.is_terminal:
        with Live(Board(scene, played), console=err, refresh_per_second=_PICTURES_PER_S, transient=True):
            await Player(scene, played, lambda: None, look_s).play()
        for signal in oldest_first(played):
            say(signal_line(signal))
    else:
        await Player(scene, played, _Lines(played)).play()
    err.print(LastEntry(scene, played))
    return played


class _Lines:
    """Says each step when it begins, and each signal once, when nothing of it is under way."""

    def __init__(self, played: Played) -> None:
        self._played = played
        self._step = ""
        self._said: set[str] = set()

    def __call__(self) -> None:
        if self._step != self._played.step:
            self._step = self._played.step
            say(f"now: {self._step}")
        for signal in oldest_first(self._played):
            if signal.settled and signal.signal_id not in self._said:
                self._said.add(signal.signal_id)
                say(f"  {signal_line(signal)}")


async def _judged(scene: Stage, played: Played) -> Verdict:
    places = {spec.account: spec.slot for spec in scene.followers}
    return await verdict(scene.house.db, scene.floors, places)


async def _report(scene: Stage, played: Played, found: Verdict, as_json: bool) -> None:
    signals = list(played.signals.values())
    times = await hop_times(scene.house.db, signals, [spec.account for spec in scene.followers])
    totals = counts(signals, len(scene.followers))
    err.print(budget(times, err.width))
    err.print()
    err.print(addresses(scene))
    err.print()
    if as_json:
        give_json(_as_json(totals, found, times))
    else:
        say(
            f"{totals.signals} signals x {totals.followers} followers = {totals.legs} legs: "
            f"{totals.approved} approved, {totals.skipped} skipped, {totals.refused} refused"
        )
        say(
            f"{totals.filled} orders filled, {found.duplicates} doubled, {found.lost} lost, by the brokers' own ledgers"
        )


def _as_json(totals: Counts, found: Verdict, times: Mapping[str, Sequence[float]]) -> dict[str, object]:
    hops = {
        name: {key: round(quantile(times[name], key), 3) for key in ("p50", "p99")}
        for name in dict.fromkeys(hop.name for hop in HOPS)
        if times[name]
    }
    return {**asdict(totals), "duplicates": found.duplicates, "lost": found.lost, "hops_ms": hops}
