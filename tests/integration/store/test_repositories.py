"""Rows in, the same rows out; nothing crosses a workspace; a lost update is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from kopitra.domain.errors import Conflict, Corrupt
from kopitra.store import accounts, catalogue, hooks, keys, leaders, rules, switches, workspaces
from kopitra.store.alerts import AlertRow, acknowledge_alert, open_alerts, raise_alert
from kopitra.store.pool import Database
from kopitra.store.sealing import FileMasterKey, Sealer, add_data_key, load_sealer
from kopitra.store.snapshots import KEPT_MAX, SnapshotRow, latest_snapshot, save_snapshot

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
LOGIN = accounts.LoginRow(
    "w1", "l1", "somebroker", "Prop login", {"host": "https://x", "demo": "yes"}, b"sealed"
)
ACCOUNT = accounts.AccountRow("w1", "a1", "l1", "PROP-1", "First", {"k": "v"}, b'{"max_order":  "5"}')
LEADER = leaders.LeaderRow("w1", "boss", "The leader", b'{"source": "ea"}', "a1")
RULE = rules.RuleRow("w1", "r1", "boss", "a1", b'{"sizing": {"mode": "fixed"}}', NOW, "ann")


@pytest_asyncio.fixture
async def house(db: Database) -> Database:
    """Two workspaces; the first has a login, an account and a leader."""
    await workspaces.create_workspace(db, workspaces.WorkspaceRow("w1", "One", NOW))
    await workspaces.create_workspace(db, workspaces.WorkspaceRow("w2", "Two", NOW))
    await accounts.create_login(db, LOGIN)
    await accounts.create_account(db, ACCOUNT)
    await leaders.create_leader(db, LEADER)
    return db


@pytest_asyncio.fixture
async def sealer(house: Database, tmp_path_factory: pytest.TempPathFactory) -> Sealer:
    master = FileMasterKey(tmp_path_factory.mktemp("key") / "master.key")
    await add_data_key(house, master, "w1", NOW)
    return await load_sealer(house, master)


async def test_rows_come_back_as_they_were_written(house: Database) -> None:
    assert await accounts.list_logins(house, "w1") == [LOGIN]
    assert await accounts.get_account(house, "w1", "a1") == ACCOUNT
    assert await leaders.list_leaders(house, "w1") == [LEADER]
    assert [row.workspace for row in await workspaces.list_workspaces(house)] == ["w1", "w2"]


async def test_another_workspace_sees_nothing(house: Database) -> None:
    assert await accounts.list_logins(house, "w2") == []
    assert await accounts.get_login(house, "w2", "l1") is None
    assert await accounts.list_accounts(house, "w2") == []
    assert await accounts.get_account(house, "w2", "a1") is None
    assert await leaders.get_leader(house, "w2", "boss") is None


async def test_another_workspace_can_change_nothing(house: Database) -> None:
    with pytest.raises(Conflict):
        await accounts.change_login(house, replace(LOGIN, workspace="w2", title="mine"))
    with pytest.raises(Conflict):
        await accounts.change_account(house, replace(ACCOUNT, workspace="w2", title="mine"))
    with pytest.raises(Conflict):
        await leaders.change_leader(house, replace(LEADER, workspace="w2", title="mine"))
    assert await accounts.get_account(house, "w1", "a1") == ACCOUNT


async def test_a_change_needs_the_version_that_was_read(house: Database) -> None:
    changed = await accounts.change_account(house, replace(ACCOUNT, title="Renamed", active=False))
    assert (
        await accounts.get_account(house, "w1", "a1")
        == changed
        == replace(ACCOUNT, title="Renamed", active=False, version=2)
    )
    with pytest.raises(Conflict, match="read it again"):
        await accounts.change_account(house, replace(ACCOUNT, title="Lost update"))
    login = await accounts.change_login(house, replace(LOGIN, sealed=None))
    assert await accounts.get_login(house, "w1", "l1") == login
    leader = await leaders.change_leader(house, replace(LEADER, account_id=None))
    assert await leaders.get_leader(house, "w1", "boss") == leader


@pytest.mark.parametrize("workspace", ["w1", "w2"])
async def test_ids_are_unique_across_workspaces(house: Database, workspace: str) -> None:
    with pytest.raises(Conflict, match="exists already"):
        await accounts.create_login(house, replace(LOGIN, workspace=workspace))
    with pytest.raises(Conflict, match="exists already"):
        await leaders.create_leader(house, replace(LEADER, workspace=workspace, account_id=None))


@pytest.mark.parametrize("stranger", ["no-such-login", "l1"])
async def test_an_account_needs_a_login_of_its_own_workspace(house: Database, stranger: str) -> None:
    with pytest.raises(Conflict) as caught:
        await accounts.create_account(
            house, replace(ACCOUNT, workspace="w2", account_id="a9", login_id=stranger)
        )
    assert caught.value.code == "unknown-reference"


async def test_a_row_changed_by_hand_is_not_guessed(house: Database) -> None:
    await house.run("update logins set settings = '[1]'")
    with pytest.raises(Corrupt, match="LoginRow"):
        await accounts.list_logins(house, "w1")


async def test_a_changed_rule_is_a_new_version(house: Database) -> None:
    first = await rules.create_rule(house, RULE)
    second = await rules.change_rule(house, replace(first, body=b'{"sizing":{}}', created_by="bob"))
    assert second.version == 2
    assert await rules.rule_versions(house, "w1", "r1") == [second, first]
    assert await rules.current_rule(house, "w1", "r1") == second
    assert await rules.list_rules(house, "w1") == [second]
    assert await rules.rules_of_leader(house, "w1", "boss") == [second]
    with pytest.raises(Conflict, match="read it again"):
        await rules.change_rule(house, first)


async def test_a_rule_of_another_workspace_is_not_there(house: Database) -> None:
    await rules.create_rule(house, RULE)
    assert await rules.current_rule(house, "w2", "r1") is None
    assert await rules.rules_of_leader(house, "w2", "boss") == []
    with pytest.raises(Conflict):
        await rules.change_rule(house, replace(RULE, workspace="w2"))
    with pytest.raises(Conflict):
        await rules.create_rule(house, replace(RULE, workspace="w2"))


async def test_a_key_is_shown_once_and_stored_as_a_hash(house: Database, sealer: Sealer) -> None:
    request = keys.KeyRequest("w1", "boss", "12345", "MT5", True, ("10.0.0.0/8", "2001:db8::/32"), 60)
    issued = await keys.issue_key(house, sealer, request, NOW)
    parsed = keys.parse_token(issued.token)
    assert parsed is not None
    assert parsed[0] == issued.row.key_id
    [stored] = await keys.list_keys(house, "w1")
    assert stored == issued.row
    assert keys.same_secret(stored.secret_sha256, parsed[1])
    assert stored.allow_list == request.allow_list
    assert keys.signing_secret(sealer, stored) == issued.signing_secret.encode()
    secret = issued.token.split("_", 2)[2]
    assert len(secret) * 6 >= 256
    assert await keys.list_keys(house, "w2") == []


async def test_a_rotated_key_overlaps_its_successor_by_a_week(house: Database, sealer: Sealer) -> None:
    old = (await keys.issue_key(house, sealer, keys.KeyRequest("w1", "boss", "1", "MT5"), NOW)).row
    later = NOW + timedelta(days=20)
    issued = await keys.rotate_key(house, sealer, "w1", old.key_id, later)
    by_id = {row.key_id: row for row in await keys.list_keys(house, "w1")}
    assert issued.row.replaces == old.key_id
    assert issued.row.secret_sha256 != old.secret_sha256
    assert by_id[old.key_id].expires_at == later + keys.OVERLAP
    both = later + timedelta(days=6)
    assert by_id[old.key_id].valid_at(both)
    assert issued.row.valid_at(both)
    assert not by_id[old.key_id].valid_at(later + timedelta(days=8))


async def test_a_rotation_never_prolongs_a_key(house: Database, sealer: Sealer) -> None:
    old = (await keys.issue_key(house, sealer, keys.KeyRequest("w1", "boss", "1", "MT5"), NOW)).row
    await keys.rotate_key(house, sealer, "w1", old.key_id, NOW + timedelta(days=29))
    by_id = {row.key_id: row for row in await keys.list_keys(house, "w1")}
    assert by_id[old.key_id].expires_at == old.expires_at
    with pytest.raises(Conflict, match="issue a new one"):
        await keys.rotate_key(house, sealer, "w1", old.key_id, NOW + timedelta(days=31))


async def test_a_revoked_key_is_dead_and_stays_so(house: Database, sealer: Sealer) -> None:
    row = (await keys.issue_key(house, sealer, keys.KeyRequest("w1", "boss", "1", "MT5"), NOW)).row
    assert not await keys.revoke_key(house, "w2", row.key_id, NOW)
    assert await keys.revoke_key(house, "w1", row.key_id, NOW)
    assert await keys.revoke_key(house, "w1", row.key_id, NOW + timedelta(days=1))
    [stored] = await keys.list_keys(house, "w1")
    assert stored.revoked_at == NOW
    assert not stored.valid_at(NOW)


async def test_a_key_for_a_strange_leader_is_refused(house: Database, sealer: Sealer) -> None:
    with pytest.raises(Conflict):
        await keys.issue_key(house, sealer, keys.KeyRequest("w1", "nobody", "1", "x"), NOW)


async def test_a_hook_path_leads_to_its_row(house: Database) -> None:
    request = hooks.HookRequest("w1", "boss", "template", {"symbol": "ES"}, "{{ticker}}", ("10.1.2.3/32",))
    issued = await hooks.issue_hook(house, request)
    assert hooks.parse_path(issued.path) == (issued.row.hook_id, issued.row.secret_sha256)
    assert await hooks.list_hooks(house, "w1") == [issued.row]
    changed = await hooks.change_hook(house, replace(issued.row, active=False, allow_list=()))
    assert await hooks.list_hooks(house, "w1") == [changed]
    with pytest.raises(Conflict):
        await hooks.change_hook(house, issued.row)


async def test_an_older_switch_never_overwrites_a_newer_one(db: Database) -> None:
    halted = switches.SwitchRow("account", "a1", "w1", "halted", 2, "loss", "ann", NOW)
    assert await switches.set_switch(db, halted)
    assert not await switches.set_switch(db, replace(halted, state="active", epoch=1))
    assert not await switches.set_switch(db, replace(halted, state="active", epoch=2))
    assert await switches.list_switches(db) == [halted]
    lifted = replace(halted, state="reducing", epoch=3, reason="calm")
    assert await switches.set_switch(db, lifted)
    assert await switches.list_switches(db) == [lifted]


async def test_brokers_are_refreshed_and_keep_their_flag(db: Database) -> None:
    row = catalogue.BrokerRow("somebroker", "Some Broker", b'{"a": 1}', b'{"type": "object"}', NOW)
    await catalogue.publish_brokers(db, [row])
    assert await catalogue.enable_broker(db, "somebroker", enabled=False)
    later = replace(row, title="New name", updated_at=NOW + timedelta(days=1))
    await catalogue.publish_brokers(db, [later])
    await catalogue.publish_brokers(db, [replace(later, updated_at=NOW + timedelta(days=2))])
    assert await catalogue.list_brokers(db) == [replace(later, enabled=False)]
    assert not await catalogue.enable_broker(db, "other", enabled=True)


async def test_alerts_stay_open_until_somebody_takes_them(db: Database) -> None:
    row = AlertRow("w1", "x1", "critical", "a1", "drift", b'{"qty": "3"}', NOW)
    assert await raise_alert(db, row)
    assert not await raise_alert(db, row)
    assert await open_alerts(db, "w1") == [row]
    assert await open_alerts(db, "w2") == []
    assert not await acknowledge_alert(db, "w2", "x1", "eve", NOW)
    assert await acknowledge_alert(db, "w1", "x1", "ann", NOW)
    assert await open_alerts(db, "w1") == []


async def test_the_newest_snapshot_of_a_known_layout_is_found(db: Database) -> None:
    for seq in range(1, KEPT_MAX + 3):
        await save_snapshot(db, SnapshotRow("s1", seq, seq % 2, b"state %d" % seq, NOW))
    newest = await latest_snapshot(db, "s1", KEPT_MAX % 2)
    assert newest is not None
    assert newest.seq == KEPT_MAX + 2
    assert await latest_snapshot(db, "s1", 9) is None
    assert await latest_snapshot(db, "s2", 1) is None


@pytest.mark.parametrize(
    "token", ["", "kpt_", "kpt_id_", "kpt__secret", "xyz_id_secret", "kpt_id_sécret", "kpt"]
)
def test_what_is_not_a_token_is_not_parsed(token: str) -> None:
    assert keys.parse_token(token) is None


def test_a_secret_may_contain_underscores() -> None:
    assert keys.parse_token("kpt_id_a_b_c") == ("id", keys.hash_secret("a_b_c"))
