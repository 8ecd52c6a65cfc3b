-- Changes of configuration become facts of the journal; what is held because of whom can be asked.

-- Every change of configuration, written by triggers in the transaction that makes it, so that no way around exists;
-- the gateway, who alone writes the journal, picks the rows up. `before` and `after` are JSON without secrets.
create table config_changes (
    change_id bigint generated always as identity primary key,
    workspace text not null,
    who       text not null,             -- `kopitra.who` of the session, else the database user
    what      text not null,             -- account, leader, rule, key, hook, login, workspace, operator
    what_id   text not null,
    before    text not null,             -- 'null' where there was nothing
    after     text not null,
    at        timestamptz not null,      -- database time
    shard     text,                      -- where it was journalled; null: not yet
    seq       bigint
);
create index config_changes_waiting on config_changes (change_id) where seq is null;
create index config_changes_by_age on config_changes (at) where seq is not null;

create function record_config_change() returns trigger language plpgsql as $$
declare
    was    jsonb := to_jsonb(old);
    made   jsonb := to_jsonb(new);
    secret text;
    fresh  boolean;
begin
    if tg_table_name = 'copy_rules' and tg_op = 'INSERT' then
        select to_jsonb(rule) into was from copy_rules rule
        where rule.workspace = new.workspace and rule.rule_id = new.rule_id and rule.version = new.version - 1;
    end if;
    foreach secret in array array['secret_sha256', 'sealed', 'sealed_signing'] loop
        fresh := was -> secret is distinct from made -> secret;
        if was ->> secret is not null then
            was := was || jsonb_build_object(secret, '(hidden)');
        end if;
        if made ->> secret is not null then
            made := made || jsonb_build_object(secret, case when fresh then '(hidden, new)' else '(hidden)' end);
        end if;
    end loop;
    if was is distinct from made then
        insert into config_changes (workspace, who, what, what_id, before, after, at)
        values (coalesce(made, was) ->> 'workspace',
                coalesce(nullif(current_setting('kopitra.who', true), ''), 'sql:' || session_user),
                tg_argv[0], coalesce(made, was) ->> tg_argv[1],
                coalesce(was::text, 'null'), coalesce(made::text, 'null'), clock_timestamp());
    end if;
    return null;
end
$$;

create trigger change_recorded after insert or update or delete on workspaces
    for each row execute function record_config_change('workspace', 'workspace');
create trigger change_recorded after insert or update or delete on logins
    for each row execute function record_config_change('login', 'login_id');
create trigger change_recorded after insert or update or delete on accounts
    for each row execute function record_config_change('account', 'account_id');
create trigger change_recorded after insert or update or delete on leaders
    for each row execute function record_config_change('leader', 'leader_id');
create trigger change_recorded after insert or update or delete on copy_rules
    for each row execute function record_config_change('rule', 'rule_id');
create trigger change_recorded after insert or update or delete on ea_keys
    for each row execute function record_config_change('key', 'key_id');
create trigger change_recorded after insert or update or delete on hooks
    for each row execute function record_config_change('hook', 'hook_id');

-- How far the projections of a shard have come: every journal row up to `seq` is shown.
create table projection_heads (
    shard text primary key,
    seq   bigint not null,
    whole boolean not null               -- false while they are made anew: what is missing is not known to be absent
);

-- What an account holds because of one leader: what a change of rules could leave without its exits.
create table holdings (
    workspace   text not null,
    account_id  text not null,
    leader_id   text not null,
    symbol      text not null,
    shard       text not null,
    net_qty     numeric not null,        -- signed
    updated_at  timestamptz not null,
    applied_seq bigint not null,
    primary key (workspace, account_id, leader_id, symbol)
);

create index orders_open on orders (workspace, account_id)
    where ord_status not in ('filled', 'canceled', 'expired', 'rejected', 'not_placed', 'skipped');
