"""What each follower should do and hold after each signal, by plain arithmetic on the scenario.

Written from the rules' description and independent of the gateway's code on purpose: it is the other opinion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from typing import Final, Literal

from cli.local.scenario import ASK, LEADER_EQUITY, POINT_VALUES, ROOT, Act, FollowerSpec, Step

Outcome = Literal["approved", "skipped", "refused"]
_HUNDRED: Final = Decimal(100)


@dataclass(frozen=True, slots=True)
class Expected:
    """One follower after one signal. `reason` is compared where nothing was sent; `net` is signed."""

    outcome: Outcome
    reason: str
    net: int
    #: prices of the orders that rest for the follower
    resting: tuple[Decimal, ...]


@dataclass(slots=True)
class Follower:
    """Follows the scenario with pencil and paper."""

    spec: FollowerSpec
    net: int = 0
    #: leader's contracts when this stretch began, and the most it had since
    began: int = 0
    peak: int = 0
    #: what the size is derived from, fixed for the stretch
    distance: Decimal | None = None
    resting: dict[str, Decimal] = field(default_factory=dict[str, Decimal])

    @property
    def rule(self) -> Mapping[str, str]:
        return self.spec.rule

    def after(self, act: Act) -> Expected:
        """Take one signal."""
        match act.kind:
            case "entry" | "reverse":
                outcome, reason = self._grow(act)
            case "reduce":
                outcome, reason = self._shrink(act)
            case "flat":
                outcome, reason = self._leave()
            case "rest":
                outcome, reason = self._rest(act)
            case "move" | "cancel":
                outcome, reason = self._change(act)
        return Expected(outcome, reason, self.net, tuple(sorted(self.resting.values())))

    def _grow(self, act: Act) -> tuple[Outcome, str]:
        held = self.net
        began, distance = self.began, self.distance
        self.began = self.peak = abs(act.after)
        self.distance = act.stop_distance
        wanted = self._size(abs(act.after))
        side = 1 if (act.after > 0) != (self.rule.get("inverse") == "true") else -1
        reason = wanted if isinstance(wanted, str) else self._objection(side)
        if isinstance(wanted, str) or reason:
            if held:  # the leader turned: what is held goes, nothing new comes
                self.net = 0
                self.resting.clear()
                return "approved", ""
            if isinstance(wanted, str):
                self.began, self.distance = began, distance
            return ("refused" if reason == "daily_loss" else "skipped"), reason
        self.net = side * wanted
        self.resting.clear()
        if act.protection is not None:
            self._protect(act.protection)
        return ("approved", "") if wanted else ("skipped", "below_step")

    def _objection(self, side: int) -> str:
        if (pace := self.rule.get("pace", "active")) != "active":
            return pace
        wanted = self.rule.get("side_filter", "both")
        if (wanted == "long" and side < 0) or (wanted == "short" and side > 0):
            return "side_filtered"
        return "daily_loss" if self.spec.used_up else ""

    def _protect(self, levels: tuple[Decimal, Decimal]) -> None:
        """Stop and target of the signal; for an inverse follower they change places, not prices."""
        inverse = self.rule.get("inverse") == "true"
        stop, target = reversed(levels) if inverse else levels
        if self.rule.get("copy_stop_loss") != "false":
            self.resting["own stop"] = stop
        if self.rule.get("copy_take_profit") != "false":
            self.resting["own target"] = target

    def _shrink(self, act: Act) -> tuple[Outcome, str]:
        wanted = self._size(abs(act.after))
        if isinstance(wanted, str):
            return "skipped", wanted
        if self.net == 0:
            return "skipped", "flat" if wanted else "below_step"
        if wanted >= abs(self.net):
            return "skipped", "on_target"
        self.net = wanted if self.net > 0 else -wanted
        if not wanted:
            self.resting.clear()
        return "approved", ""

    def _leave(self) -> tuple[Outcome, str]:
        self.began = self.peak = 0
        self.distance = None
        if self.net == 0:
            return "skipped", "flat"
        self.net = 0
        self.resting.clear()
        return "approved", ""

    def _rest(self, act: Act) -> tuple[Outcome, str]:
        if self.rule.get("mirror") == "fills":
            return "skipped", "waits_for_fill"
        if self.rule.get("pace") == "paused":
            return "skipped", "paused"
        is_stop = (act.resting == "stop") != (self.rule.get("inverse") == "true")
        if is_stop and self.rule.get("copy_stop_loss") == "false":
            return "skipped", "stop_not_copied"
        if self.net == 0:
            return "skipped", "flat"
        self.resting[act.resting] = act.price or Decimal(0)
        return "approved", ""

    def _change(self, act: Act) -> tuple[Outcome, str]:
        if act.kind == "move" and self.rule.get("pace") == "paused":
            return "skipped", "paused"
        if act.resting not in self.resting:
            return "skipped", "no_mirrored_order"
        if act.kind == "cancel":
            del self.resting[act.resting]
        else:
            self.resting[act.resting] = act.price or Decimal(0)
        return "approved", ""

    def _size(self, contracts: int) -> int | str:
        """Contracts for the leader's contracts, or why it cannot be told."""
        mode, value = self.rule["sizing.mode"], Decimal(self.rule["sizing.value"])
        root, ratio = self.product
        share = Decimal(contracts) / Decimal(self.began or contracts)
        if mode == "fixed":
            raw = value * contracts / (self.peak or contracts)
        elif mode == "multiplier":
            raw = value * ratio * contracts
        elif mode == "equity_proportional":
            raw = value * ratio * contracts * self.spec.equity / LEADER_EQUITY
        elif mode == "percent_of_equity":
            raw = self.spec.equity * value / _HUNDRED / (ASK * POINT_VALUES[root]) * share
        else:
            if self.distance is None:
                return "no_stop_loss"
            raw = self.spec.equity * value / _HUNDRED / (self.distance * POINT_VALUES[root]) * share
        rounding = ROUND_HALF_UP if self.rule.get("rounding.mode") == "half_up" else ROUND_DOWN
        whole = int(raw.quantize(Decimal(1), rounding))
        return min(whole, int(self.rule["max_position"])) if "max_position" in self.rule else whole

    @property
    def product(self) -> tuple[str, Decimal]:
        """(what it trades, its contracts for one of the leader's)."""
        if "symbol_map" not in self.rule:
            return ROOT, Decimal(1)
        _, root, ratio = self.rule["symbol_map"].split(":")
        return root, Decimal(ratio)


def expectations(followers: Sequence[FollowerSpec], steps: Sequence[Step]) -> list[list[dict[str, Expected]]]:
    """For each step and each of its signals: account -> what is expected."""
    papers = [Follower(spec) for spec in followers]
    return [
        [{paper.spec.account: paper.after(act) for paper in papers} for act in step.acts] for step in steps
    ]
