"""What one seed does: which kinds of fault are on (each with p = 0.5), at which rate, and what the leaders do (H-5).

A plan is data, so that a failing one can be made smaller: a fault class or an act is taken out and everything else
stays as it was, because every class draws from a stream of its own.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import Final, Literal

from tests.faults.rude_manners import LAG_MAX_MS, Manners

#: kinds of faults; each is on or off for a whole run
CLASSES: Final = (
    "slow",
    "lost_request",
    "lost_answer",
    "server_error",
    "penalty",
    "reject",
    "drop_event",
    "duplicate_event",
    "reorder_event",
    "bad_read",
    "lag",
    "partial",
    "busy",
    "budget",
    "line_drop",
    "half_open",
    "maintenance",
    "halt",
    "human",
    "liquidation",
    "crash",
    "hand_over",
    "pause",
    "database",
    "slow_database",
    "skew",
    "client",
    "switches",
    "flatten",
    "shuffle",
)  # fmt: skip

ActKind = Literal[
    "trade", "bracket", "rest", "move", "cancel", "exit", "boss", "boss_rest", "boss_cancel", "switch"
]


@dataclass(frozen=True, slots=True)
class Act:
    """Something a person or an EA does at `at_s`. What it means depends on where things stand then."""

    at_s: float
    kind: ActKind
    root: str = "ES"
    qty: int = 1
    #: a draw for whatever else has to be chosen
    draw: float = 0.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault at one time: `kind` is its class, `for_s` how long, `draw` chooses whom it hits."""

    at_s: float
    kind: str
    for_s: float = 0.0
    draw: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about a run that is not the product's doing."""

    seed: int
    classes: frozenset[str]
    chaos_s: float
    followers: int
    manners: tuple[Manners, ...]
    acts: tuple[Act, ...]
    troubles: tuple[Trouble, ...]
    #: every follower copies this leader, plainly; "" draws it
    only: str = ""
    #: the EA numbers its acts and names its orders
    numbered: bool = True
    #: seconds by which wall clocks differ: gateways, brokers
    skews_s: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)

    def without(self, kind: str) -> "Plan":
        """The same run without one class of faults."""
        made = make_plan(self.seed, self.classes - {kind})
        troubles = tuple(t for t in made.troubles if t in self.troubles)
        return replace(made, acts=self.acts, troubles=troubles)


def drawn_classes(seed: int) -> frozenset[str]:
    """The classes that are on in a seed."""
    rng = Random(f"{seed} classes")
    return frozenset(name for name in CLASSES if rng.random() < 0.5)


def make_plan(seed: int, classes: frozenset[str] | None = None) -> Plan:
    """The plan of a seed."""
    on = drawn_classes(seed) if classes is None else classes
    rng = Random(f"{seed} scenario")
    chaos_s = rng.uniform(20, 50)
    followers = rng.randint(2, 5)
    acts = tuple(sorted(_acts(rng, chaos_s, on), key=lambda act: act.at_s))
    troubles = [t for name in CLASSES if name in on for t in _troubles(seed, name, chaos_s)]
    troubles.sort(key=lambda t: (t.at_s, t.kind))
    skew = Random(f"{seed} skew")
    far = 5 / 1.5 if _rarely(seed, "skew") else 1.0  # so far that entries stop
    skews_s = tuple(skew.uniform(-1.5, 1.5) * far if "skew" in on else 0.0 for _ in range(4))
    manners = tuple(
        _slow_to_fill(_manners(Random(f"{seed} manners {n}"), on), Random(f"{seed} fills {n}"), on)
        for n in range(2)
    )
    return Plan(
        seed,
        on,
        chaos_s,
        followers,
        manners,
        acts,
        tuple(troubles),
        numbered=rng.random() < 0.7,
        skews_s=skews_s,
    )


#: as often as they are drawn
_KINDS: Final[tuple[ActKind, ...]] = (
    "trade", "trade", "trade", "trade", "trade", "trade", "bracket", "bracket", "rest", "rest", "move", "cancel",
    "exit", "exit", "boss", "boss", "boss", "boss", "boss_rest", "boss_cancel",
)  # fmt: skip
_SWITCHES: Final[tuple[ActKind, ...]] = ("switch", "switch")


def _acts(rng: Random, chaos_s: float, on: frozenset[str]) -> list[Act]:
    kinds = list(_KINDS)
    if "switches" in on:
        kinds += list(_SWITCHES)
    acts: list[Act] = []
    for _ in range(rng.randint(8, 22)):
        # Most acts come in bursts: that is when they meet one another's consequences.
        base = (
            acts[-1].at_s + rng.expovariate(4.0) if acts and rng.random() < 0.5 else rng.uniform(1, chaos_s)
        )
        qty = rng.choice((1, 1, 2, 3)) * rng.choice((1, -1))
        root = rng.choice(("ES", "ES", "NQ"))
        acts.append(Act(min(base, chaos_s), rng.choice(kinds), root, qty, rng.random()))
    return acts


#: class -> how often in a run at most, and how long at most (seconds)
_TIMES: Final[dict[str, tuple[int, float]]] = {
    "line_drop": (4, 0.0),
    "half_open": (2, 0.0),
    "maintenance": (1, 12.0),
    "halt": (2, 10.0),
    "human": (2, 0.0),
    "liquidation": (1, 0.0),
    "crash": (3, 0.0),
    "hand_over": (3, 0.0),
    "pause": (2, 14.0),
    "database": (2, 20.0),
    "flatten": (3, 0.6),  # seconds until it is asked for once more
}


def _troubles(seed: int, name: str, chaos_s: float) -> list[Trouble]:
    if name not in _TIMES:
        return []
    most, longest_s = _TIMES[name]
    if name == "database" and _rarely(seed, name):
        longest_s = 120.0
    rng = Random(f"{seed} {name}")
    return [
        Trouble(rng.uniform(0.5, chaos_s), name, rng.uniform(0, longest_s), rng.random())
        for _ in range(rng.randint(1, most))
    ]


def _rarely(seed: int, name: str) -> bool:
    """One world in four has this fault at H-5's full size; in the others more happens beside it."""
    return Random(f"{seed} {name} far").random() < 0.25


def _slow_to_fill(manners: Manners, rng: Random, on: frozenset[str]) -> Manners:
    """In some worlds a broker takes seconds for a fill, which outlasts every read."""
    if rng.random() < 0.75 or "partial" not in on:
        return manners
    return replace(manners, fill_delay_ms=rng.randint(400, 3_000))


def _manners(rng: Random, on: frozenset[str]) -> Manners:
    """Rates are drawn whether they are used or not: taking a class out changes no other."""

    def rate(name: str, most: float) -> float:
        drawn = rng.uniform(0, most)
        return drawn if name in on else 0.0

    slow_s = rng.choice((0.02, 0.1, 0.5))
    lag_s = rng.uniform(0, LAG_MAX_MS / 1000)
    slices, fill_ms, liquidity = rng.randint(1, 3), rng.choice((0, 20, 300)), rng.choice((0, 0, 1))
    in_flight_max, budget = rng.randint(1, 4), rng.randint(4, 30)
    return Manners(
        delay_s=slow_s if "slow" in on else 0.004,
        delay_max_s=slow_s * 6 if "slow" in on else 0.05,
        lose_request=rate("lost_request", 0.3),
        lose_answer=rate("lost_answer", 0.3),
        server_error=rate("server_error", 0.1),
        penalty=rate("penalty", 0.2),
        reject=rate("reject", 0.15),
        drop_event=rate("drop_event", 0.3),
        duplicate_event=rate("duplicate_event", 0.5),
        reorder_event=rate("reorder_event", 0.2),
        bad_read=rate("bad_read", 0.2),
        lag_s=lag_s if "lag" in on else 0.0,
        slices=slices if "partial" in on else 1,
        fill_delay_ms=fill_ms if "partial" in on else 0,
        liquidity_qty=liquidity if "partial" in on else 0,
        in_flight_max=in_flight_max if "busy" in on else 0,
        budget=budget if "budget" in on else 0,
    )
