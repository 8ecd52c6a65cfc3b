"""`python -m tests.faults publish`: figures of the last runs into docs/reliability.md, between its marks.

Figures are JSON under tests/faults/results, written by the runs themselves; a block whose run was never made says so.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from kopitra.store.lease import LeaseSettings
from tests.faults.ablating import Finding
from tests.faults.runs import ROOT, Figures
from tests.faults.sweep import SCENARIOS

PAGE: Final = ROOT / "docs/reliability.md"
RESULTS: Final = Path(__file__).parent / "results"


class Ablated(msgspec.Struct):
    """What `make ablate` found."""

    commit: str
    findings: list[Finding] = msgspec.field(default_factory=list[Finding])


class HandOvers(msgspec.Struct):
    """What the hand-over campaign measured (T-24); seconds."""

    commit: str
    handovers: int
    signals: int
    lease_ttl_s: float
    exit_grace_s: float
    clean_gap_p95_s: float | None
    dirty_exits_max_s: float | None
    dirty_entries_max_s: float | None
    #: of those that had to wait for an order of unknown fate, which is found out about first
    dirty_exits_behind_doubts_max_s: float | None
    dirty_entries_behind_doubts_max_s: float | None
    double_sends: int
    lost: int


class Wires(msgspec.Struct):
    """What the wire chaos did (T-30)."""

    commit: str
    runs: int
    brokers: int
    faults: int
    injected: int
    sent: int
    doubted: int
    doubled: int
    lost: int
    violations: list[msgspec.Raw] = msgspec.field(default_factory=list[msgspec.Raw])


class CrashRuns(msgspec.Struct):
    """Real processes killed at labelled points (T-23); doubled and lost by the brokers' ledgers and the journal."""

    commit: str
    runs: int = 0
    points: int = 0
    deaths: int = 0
    doubled: int = 0
    lost: int = 0
    seconds: float = 0.0
    violations: list[str] = msgspec.field(default_factory=list[str])


class DatabaseRuns(msgspec.Struct):
    """A database that dies under load (T-23); seconds."""

    commit: str
    restarts: int = 0
    #: those of them in which only a backend was killed
    backends: int = 0
    signals: int = 0
    retried: int = 0
    #: longest time from a crash until entries and exits were sent again
    dark_max_s: float = 0.0
    doubled: int = 0
    lost: int = 0
    seconds: float = 0.0


class RevisionRuns(msgspec.Struct):
    """Two revisions together while the database is migrated (T-25); seconds."""

    commit: str
    signals: int
    seconds: float
    retried: int
    doubled: int
    lost: int


def timers(_results: Path) -> str:
    """The timers of single writing, from the code itself."""
    lease = LeaseSettings()
    rows = (
        ("life of a lease without renewal", lease.ttl_s),
        ("between two renewals", round(lease.renew_s, 2)),
        ("a holder stops its entries before the end of its lease by", lease.margin_s),
        ("exits may go on without a database, after that, for", lease.exit_grace_s),
        ("after a crash a successor sends exits within", lease.ttl_s + 2),
        ("after a crash a successor sends entries within", lease.ttl_s + lease.exit_grace_s + 2),
    )
    return _table(("Timer", "Seconds"), [(text, f"{seconds:g}") for text, seconds in rows])


class Tier(NamedTuple):
    """A row of the runs: its name, the file of its figures, what runs it, and how the figures are told."""

    name: str
    file: str
    command: str
    told: Callable[[bytes], tuple[str, ...]]

    def row(self, results: Path) -> tuple[str, ...]:
        """Commit, runs, what happened, doubled, lost. A tier without figures says so: a gap is seen."""
        path = results / self.file
        if not path.exists():
            return (self.name, "", "", f"**not run at this state**: `{self.command}`", "", "")
        return (self.name, *self.told(path.read_bytes()))


def runs(results: Path) -> str:
    """One row per tier."""
    head = ("Tier", "Commit", "Runs", "What happened in them", "Doubled", "Lost")
    return _table(head, [tier.row(results) for tier in TIERS])


def _simulated(raw: bytes) -> tuple[str, ...]:
    found = msgspec.json.decode(raw, type=Figures)
    hours = f"{found.virtual_s / 3600:,.1f} virtual hours"
    broken = "".join(
        f"; **{name} broken** by {_named(seeds)}" for name, seeds in sorted(found.broken.items())
    )
    faults = f"{sum(found.faults.values()):,} faults, {found.placements:,} placements, {hours}"
    text = f"{_swept(found)}{faults}{_accounted(found)}{broken}"
    return (found.commit, f"{found.seeds:,}", text, str(found.doubles), str(found.lost))


def _accounted(found: Figures) -> str:
    """What became of signals; runs that are older than the accounts say nothing."""
    if not found.attempted:
        return ""
    told = f"{found.attempted:,} signals tried, {found.acknowledged:,} acknowledged, {found.recovered:,} recovered"
    return f"; {told} after a try without an answer"


def _swept(found: Figures) -> str:
    """Which steps a crash sweep tried."""
    if not found.crash_points:
        return ""
    which = "each" if found.every == 1 else f"every {_ordinal(found.every)}"
    return f"{which} of {found.steps_in_all:,} steps of {len(SCENARIOS)} scenarios: "


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _named(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds[:10])) + (f" and {len(seeds) - 10} more" if len(seeds) > 10 else "")


def _handed_over(raw: bytes) -> tuple[str, ...]:
    found = msgspec.json.decode(raw, type=HandOvers)
    gaps = (
        ("clean gap p95", found.clean_gap_p95_s),
        ("dirty gap at most, exits", found.dirty_exits_max_s),
        ("entries", found.dirty_entries_max_s),
        ("exits behind orders in doubt", found.dirty_exits_behind_doubts_max_s),
        ("entries behind them", found.dirty_entries_behind_doubts_max_s),
    )
    measured = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in gaps if seconds is not None)
    text = f"{found.signals:,} signals at a lease of {found.lease_ttl_s:g} s and a grace of {found.exit_grace_s:g} s; "
    return (found.commit, f"{found.handovers:,}", text + measured, str(found.double_sends), str(found.lost))


def _wired(raw: bytes) -> tuple[str, ...]:
    found = msgspec.json.decode(raw, type=Wires)
    text = (
        f"{found.brokers} brokers x {found.faults} kinds of fault, {found.injected:,} injected, {found.sent:,} sent, "
        f"{found.doubted:,} in doubt for a while, {len(found.violations)} broken"
    )
    return (found.commit, f"{found.runs:,}", text, str(found.doubled), str(found.lost))


def _crashed(raw: bytes) -> tuple[str, ...]:
    found = msgspec.json.decode(raw, type=CrashRuns)
    text = f"{found.points} labelled points, {found.deaths:,} deaths, {len(found.violations)} broken"
    return (found.commit, f"{found.runs:,}", text, str(found.doubled), str(found.lost))


def _restarted(raw: bytes) -> tuple[str, ...]:
    found = msgspec.json.decode(raw, type=DatabaseRuns)
    text = (
        f"{found.signals:,} signals, {found.retried:,} tries again, {found.backends} crashes by a killed backend; "
        f"entries and exits again after at most {found.dark_max_s:.1f} s"
    )
    return (found.commit, f"{found.restarts:,}", text, str(found.doubled), str(found.lost))


def _revised(raw: bytes) -> tuple[str, ...]:
    found = msgspec.json.decode(raw, type=RevisionRuns)
    text = f"{found.signals:,} signals in {found.seconds:g} s, {found.retried:,} tries again after 409 or 503"
    return (found.commit, "1", text, str(found.doubled), str(found.lost))


TIERS: Final = (
    Tier("simulation, seeds (T-20)", "seeds.json", "make nightly-seeds", _simulated),
    Tier("killed before steps (T-22)", "sweep.json", "make nightly-sweep", _simulated),
    Tier("hand-overs (T-24)", "handover.json", "make nightly-handovers", _handed_over),
    Tier(
        "hand-overs, killed and frozen (T-24)",
        "handover.processes.json",
        "make nightly-handovers",
        _handed_over,
    ),
    Tier("wires (T-30)", "wire.json", "make nightly-wire", _wired),
    Tier("real processes killed (T-23)", "crash.json", "make nightly-crash", _crashed),
    Tier("database stopped and restarted (T-23)", "database.json", "make nightly-database", _restarted),
    Tier("two revisions, migrating (T-25)", "revisions.json", "make nightly-revisions", _revised),
)


def faults(results: Path) -> str:
    """Faults by kind, of the simulated seeds."""
    path = results / "seeds.json"
    if not path.exists():
        return "Not run in this checkout."
    found = msgspec.json.decode(path.read_bytes(), type=Figures)
    return _table(
        ("Fault", "Injected"), [(name, f"{count:,}") for name, count in sorted(found.faults.items())]
    )


def ablations(results: Path) -> str:
    """One row per safeguard."""
    path = results / "ablations.json"
    if not path.exists():
        return "Not run in this checkout: `make ablate` writes the table."
    found = msgspec.json.decode(path.read_bytes(), type=Ablated)
    rows = [
        (
            f.name,
            f.kind,
            f.invariant or "**nobody missed it**",
            f"{f.tries:,}",
            f"`{f.shown_by}`" if f.shown_by else "",
            f"`{f.lives}`",
        )
        for f in found.findings
    ]
    head = ("Safeguard", "Kind", "Broke", "Tries", "Shown by", "Lives in")
    return f"{len(rows)} safeguards at {found.commit}.\n\n{_table(head, rows)}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


BLOCKS: Final[Mapping[str, Callable[[Path], str]]] = {
    "timers": timers,
    "runs": runs,
    "faults": faults,
    "ablations": ablations,
}


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with every block as the results say. ValueError when a mark is missing."""
    for name, made in BLOCKS.items():
        begin, end = f"<!-- faults:{name}:begin -->", f"<!-- faults:{name}:end -->"
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{PAGE.name} needs {begin} and after it {end}: put them back.")
        page = f"{before}{begin}\n{made(results)}\n{end}{after}"
    return page


def publish() -> None:
    """Write the page."""
    PAGE.write_text(filled(PAGE.read_text()))
