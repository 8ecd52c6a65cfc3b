"""`kopitra repairs` against a gateway process: preview, apply, lift, and what it says when it may not."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from typer.testing import CliRunner

from cli.main import app
from gateway_container.operators import add_operator, make_operator
from tests.integration.gateway.process import running
from tests.integration.gateway.world import FIRST, WORKSPACE


class _Order(msgspec.Struct, rename="camel"):
    price_age_ms: int | None = None


class _Step(msgspec.Struct):
    verdict: str
    order: _Order | None = None
    checks: list[dict[str, str]] = []


class _Plan(msgspec.Struct, rename="camel"):
    plan_id: str
    applied: bool
    steps: list[_Step]


async def repairs(url: str, token: str, *words: str) -> tuple[int, str, str]:
    """(exit code, data, words for people)."""
    here = {"KOPITRA_URL": url, "KOPITRA_OPERATOR_KEY": token, "COLUMNS": "200"}
    result = await asyncio.to_thread(CliRunner().invoke, app, ["repairs", *words], env=here)
    return result.exit_code, result.stdout, " ".join(result.stderr.split())


async def test_a_person_previews_applies_and_lifts_by_command(dsn: str, tmp_path: Path) -> None:
    grant, token = make_operator(WORKSPACE, "ann", "operator", datetime.now(UTC))
    add_operator(tmp_path / "operators.json", grant)
    async with running(dsn, tmp_path) as (house, ea, gateway):
        try:
            await house.follow("a")
            url, sim = ea.base.removesuffix("/trade-agent/v1"), house.on.sims[FIRST]
            while await sim.net("a") == 0:
                await ea.send(action="add", side="buy", quantity=1)
            while (held := await sim.net("a")) != len(await sim.placements("a")):
                await asyncio.sleep(0.05)
            await sim.by_hand("a", house.on.contract, "sell", held)
            assert await sim.net("a") == 0

            asked = ("preview", "--account", "a", "--include-closed-by-hand", "--json")
            code, out, _ = await repairs(url, token, *asked)
            plan = msgspec.json.decode(out, type=_Plan)
            while not any(step.verdict == "approved" for step in plan.steps):
                code, out, _ = await repairs(url, token, *asked)
                plan = msgspec.json.decode(out, type=_Plan)
            assert (code, plan.applied, await sim.net("a")) == (0, False, 0)
            step = next(step for step in plan.steps if step.verdict == "approved")
            assert step.order is not None
            assert step.order.price_age_ms is not None
            assert {check["rule"] for check in step.checks} >= {"kill_switch", "order_rate"}
            out = ""  # a preview of a moment in which the account is not at rest has no steps
            while "What each rule says" not in out:
                code, out, _ = await repairs(url, token, *asked[:-1])
            assert all(words in out for words in ("What each rule says", "order_rate"))

            code, out, said = await repairs(url, token, "apply", plan.plan_id, "--yes", "--json")
            assert code == 0, said
            assert (code, msgspec.json.decode(out, type=_Plan).applied) == (0, True)
            while await sim.net("a") == 0:
                await asyncio.sleep(0.05)
            code, out, said = await repairs(url, token, "apply", plan.plan_id, "--yes", "--json")
            assert code == 0, said
            assert (code, msgspec.json.decode(out, type=_Plan).applied) == (0, True)
            assert await sim.net("a") == held

            code, _, said = await repairs(url, token, "apply", "rp0", "--yes")
            assert code == 1
            assert "preview the repair again" in said
            code, _, said = await repairs(
                url, token, "lift", "a", "--symbol", house.on.contract, "--reason", "ours"
            )
            assert (code, "go on" in said) == (0, True)
            code, _, said = await repairs(url, "", "preview")
            assert (code, "KOPITRA_OPERATOR_KEY" in said) == (2, True)
        finally:
            if gateway.returncode is None:
                gateway.kill()
            await gateway.communicate()
