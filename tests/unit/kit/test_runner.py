"""The supervisor with a plan made of switches: order of things, waiting, states, the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from random import Random

import pytest

from brokers._kit.backoff import BackoffPolicy
from brokers._kit.runner import Fatal, Retry, RunnerPolicy, SessionPlan, SessionRunner, classify, nothing
from brokers._kit.session_state import TRANSITIONS
from kopitra.domain.errors import (
    FORCED_LOGOUT_S,
    Disconnected,
    ForcedLogout,
    LoginRefused,
    ProtocolViolation,
    Throttled,
)
from kopitra.ports import ProtocolAlert, SessionChanged, SessionEvent, SessionState
from kopitra.store.lease import LeaseSettings

QUICK = RunnerPolicy(reconnect=BackoffPolicy(first_s=0.001, max_s=0.002), step_max_s=0.5)


class Stage:
    """A session whose steps are noted and can be told to fail."""

    def __init__(self, policy: RunnerPolicy = QUICK) -> None:
        self.now_ns = 0
        self.steps: list[str] = []
        self.fails: dict[str, list[Exception]] = {}
        self.hangs: set[str] = set()
        self.outstanding = False
        self.events: list[SessionEvent] = []
        self.on_step: Callable[[str], None] = lambda name: None
        self.link_end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.plan = SessionPlan(
            connect=lambda: self.step("connect"),
            login=lambda: self.step("login"),
            subscribe=lambda: self.step("subscribe"),
            reconcile=lambda: self.step("reconcile"),
            live=self.live,
            release=lambda: self.step("release"),
            settled=lambda: not self.outstanding,
        )
        self.runner = SessionRunner(
            "login-1",
            self.plan,
            self.events.append,
            clock_ns=lambda: self.now_ns,
            rng=Random(1),
            policy=policy,
        )
        self.owner: asyncio.Task[None] | None = None

    async def step(self, name: str) -> None:
        self.steps.append(name)
        self.on_step(name)
        if self.fails.get(name):
            raise self.fails[name].pop(0)
        if name in self.hangs:
            await asyncio.Event().wait()

    async def live(self) -> None:
        await self.step("live")
        self.link_end = asyncio.get_running_loop().create_future()
        await self.link_end

    def start(self) -> None:
        self.owner = asyncio.create_task(self.runner.run())

    async def reaches(self, state: SessionState, times: int = 1) -> None:
        async with asyncio.timeout(5):
            while self.states.count(state) < times or (state == "live" and self.link_end.done()):
                await asyncio.sleep(0)
            await asyncio.sleep(0)

    @property
    def states(self) -> list[SessionState]:
        return [event.state for event in self.events if isinstance(event, SessionChanged)]

    @property
    def alerts(self) -> list[ProtocolAlert]:
        return [event for event in self.events if isinstance(event, ProtocolAlert)]

    def last(self) -> SessionChanged:
        return [event for event in self.events if isinstance(event, SessionChanged)][-1]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    if stage.owner is not None:
        stage.owner.cancel()
        await asyncio.wait({stage.owner})
    before: SessionState = "closed"
    for state in stage.states:
        assert state in TRANSITIONS[before]
        before = state


async def test_it_goes_live_step_by_step_and_closes(stage: Stage) -> None:
    stage.start()
    await stage.reaches("live")
    assert stage.runner.takes_placements
    await stage.runner.close(drain_s=1)
    assert stage.steps == ["connect", "login", "subscribe", "reconcile", "live", "release"]
    assert stage.states == ["connecting", "logging_in", "reconciling", "live", "draining", "closed"]
    assert stage.owner is not None
    await stage.owner


@pytest.mark.parametrize("name", ["connect", "login", "subscribe", "reconcile", "live"])
async def test_whatever_step_fails_all_is_released_and_it_comes_back(stage: Stage, name: str) -> None:
    stage.fails[name] = [Disconnected("cut")]
    stage.start()
    await stage.reaches("live", 2 if name == "live" else 1)
    first_life = stage.steps[: stage.steps.index("release") + 1]
    assert first_life[-2:] == [name, "release"]
    assert stage.states.count("backoff") == 1
    assert stage.states[-1] == "live"


async def test_a_link_that_ends_is_replaced_by_a_whole_new_life(stage: Stage) -> None:
    stage.start()
    await stage.reaches("live")
    stage.link_end.set_exception(Disconnected("peer-dropped"))
    await stage.reaches("live", 2)
    assert stage.steps.count("reconcile") == 2
    assert [e.reason for e in stage.events if isinstance(e, SessionChanged) and e.state == "backoff"] == [
        "peer-dropped"
    ]


async def test_it_takes_no_placements_any_more_when_its_parts_are_released(stage: Stage) -> None:
    seen: list[tuple[SessionState, bool]] = []
    stage.on_step = lambda name: (
        seen.append((stage.runner.state, stage.runner.takes_placements)) if name == "release" else None
    )
    stage.start()
    await stage.reaches("live")
    stage.link_end.set_exception(Disconnected("cut"))
    await stage.reaches("live", 2)
    assert seen == [("backoff", False)]


async def test_a_refused_login_is_fatal_and_never_tried_again(stage: Stage) -> None:
    stage.fails["login"] = [LoginRefused("wrong password: enter it again")]
    await stage.runner.run()
    assert stage.steps == ["connect", "login", "release"]
    assert stage.last() == SessionChanged("login-1", "closed", "wrong password: enter it again", fatal=True)
    await stage.runner.close(drain_s=1)


async def test_throttling_waits_as_long_as_asked_and_close_cuts_the_wait(stage: Stage) -> None:
    stage.fails["connect"] = [Throttled("p-ticket", retry_after_s=3600)]
    stage.start()
    await stage.reaches("backoff")
    await asyncio.sleep(0.02)  # absence: ten times the longest backoff
    assert stage.steps == ["connect", "release"]
    await stage.runner.close(drain_s=1)
    assert stage.states[-2:] == ["backoff", "closed"]


async def test_a_step_that_hangs_is_cut_and_tried_again(stage: Stage) -> None:
    stage.runner = SessionRunner(
        "login-1",
        stage.plan,
        stage.events.append,
        clock_ns=lambda: 0,
        rng=Random(1),
        policy=replace(QUICK, step_max_s=0.01),
    )
    stage.hangs = {"subscribe"}
    stage.start()
    await stage.reaches("backoff", 2)
    reasons = {event.reason for event in stage.events if isinstance(event, SessionChanged)}
    assert reasons == {"", "a step of the session took too long"}


async def test_draining_refuses_placements_takes_cancels_and_waits_for_answers(stage: Stage) -> None:
    stage.start()
    await stage.reaches("live")
    stage.outstanding = True
    closing = asyncio.create_task(stage.runner.close(drain_s=5))
    await stage.reaches("draining")
    assert (stage.runner.takes_placements, stage.runner.takes_cancels) == (False, True)
    assert "release" not in stage.steps
    stage.outstanding = False
    await closing
    assert stage.states[-1] == "closed"
    assert stage.steps[-1] == "release"


async def test_draining_ends_when_its_time_is_over(stage: Stage) -> None:
    stage.start()
    await stage.reaches("live")
    stage.outstanding = True
    await stage.runner.close(drain_s=0.03)
    assert stage.states[-1] == "closed"


async def test_draining_ends_when_the_link_does(stage: Stage) -> None:
    stage.start()
    await stage.reaches("live")
    stage.outstanding = True
    closing = asyncio.create_task(stage.runner.close(drain_s=60))
    await stage.reaches("draining")
    stage.link_end.set_exception(Disconnected("cut"))
    async with asyncio.timeout(5):
        await closing
    assert stage.states[-1] == "closed"


async def test_closing_while_connecting_is_immediate(stage: Stage) -> None:
    stage.hangs = {"connect"}
    stage.start()
    await stage.reaches("connecting")
    await stage.runner.close(drain_s=60)
    assert stage.states == ["connecting", "closed"]
    assert stage.steps == ["connect", "release"]


async def test_cancelling_the_owner_releases_everything(stage: Stage) -> None:
    stage.start()
    await stage.reaches("live")
    assert stage.owner is not None
    stage.owner.cancel()
    await asyncio.wait({stage.owner})
    assert stage.owner.cancelled()
    assert stage.steps[-1] == "release"
    assert stage.states[-1] == "closed"


async def test_a_violation_alerts_comes_back_and_the_fifth_in_a_row_is_fatal(stage: Stage) -> None:
    stage.fails["live"] = [ProtocolViolation("unknown event", payload='{"e":"?"}') for _ in range(5)]
    await stage.runner.run()
    assert stage.steps.count("connect") == 5
    assert stage.alerts[0] == ProtocolAlert("login-1", None, "ProtocolViolation: unknown event", '{"e":"?"}')
    assert stage.last().fatal
    assert "5 protocol violations in a row" in stage.last().reason


async def test_violations_with_stable_lives_between_never_add_up(stage: Stage) -> None:
    stage.start()
    for life in range(1, 8):
        await stage.reaches("live", life)
        stage.now_ns += 11 * 10**9
        stage.link_end.set_exception(ProtocolViolation("odd"))
    await stage.reaches("live", 8)
    assert len(stage.alerts) == 7


async def test_a_defect_in_a_step_alerts_and_does_not_end_the_supervision(stage: Stage) -> None:
    stage.fails["reconcile"] = [KeyError("accounts")]
    stage.start()
    await stage.reaches("live")
    assert stage.alerts[0].text == "KeyError: 'accounts'"
    assert stage.states.count("backoff") == 1


async def test_a_release_that_raises_does_not_end_the_supervision(stage: Stage) -> None:
    stage.fails = {"connect": [Disconnected("cut")], "release": [RuntimeError("defect")]}
    stage.start()
    await stage.reaches("live")
    assert stage.steps[:2] == ["connect", "release"]


async def test_the_adapters_own_classification_wins(stage: Stage) -> None:
    def by_hand(error: Exception) -> Fatal:
        return Fatal(f"captcha after {error}: log in by hand")

    plan = replace(stage.plan, classify=by_hand, subscribe=nothing)
    runner = SessionRunner("l", plan, stage.events.append, clock_ns=lambda: 0, rng=Random(1), policy=QUICK)
    stage.fails["reconcile"] = [Disconnected("p-captcha")]
    await runner.run()
    assert stage.last() == SessionChanged(
        "l", "closed", "captcha after p-captcha: log in by hand", fatal=True
    )


def test_what_errors_mean_by_default() -> None:
    assert classify(LoginRefused("no")) == Fatal("no")
    assert classify(Throttled("wait", retry_after_s=9)) == Retry("wait", after_s=9)
    assert classify(Disconnected("cut")) == Retry("cut")
    # whoever was thrown out by another login stays away for 30 s at least, longer than a lease lives.
    assert classify(ForcedLogout("taken", retry_after_s=1)) == Retry("taken", after_s=30)
    assert classify(ForcedLogout("taken", retry_after_s=300)) == Retry("taken", after_s=300)
    assert LeaseSettings().ttl_s < FORCED_LOGOUT_S
    assert isinstance(classify(ValueError("?")), Retry)
