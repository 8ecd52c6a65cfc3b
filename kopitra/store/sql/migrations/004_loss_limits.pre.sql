-- Loss limits of prop accounts, with versions, and requests to measure losses anew.

-- Loss limits of an account. A change is a new version that counts from a trading day on; refusals name the version.
create table account_limits (
    workspace      text not null,
    account_id     text not null,
    version        integer not null check (version > 0),
    effective_from date not null,        -- a trading day by the limits' own reset clock
    verified_on    date not null,        -- when somebody compared it with the firm's page
    body           json not null,        -- the domain reads it
    created_at     timestamptz not null,
    created_by     text not null,
    primary key (workspace, account_id, version),
    foreign key (workspace, account_id) references accounts
);

-- Requests to measure an account's losses anew: the only way out of a maximum loss. The gateway takes up the newest.
create table measuring_starts (
    start_id   bigint generated always as identity primary key,
    workspace  text not null,
    account_id text not null,
    balance    numeric,                  -- null: what the broker tells then
    peak       numeric,                  -- null: that balance
    reason     text not null check (reason <> ''),
    created_at timestamptz not null,
    created_by text not null,
    foreign key (workspace, account_id) references accounts
);
create index measuring_starts_by_account on measuring_starts (workspace, account_id, start_id desc);

create or replace function record_config_change() returns trigger language plpgsql as $$
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
    if tg_table_name = 'account_limits' and tg_op = 'INSERT' then
        select to_jsonb(held) into was from account_limits held
        where held.workspace = new.workspace and held.account_id = new.account_id and held.version = new.version - 1;
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

create trigger config_changed after insert or update or delete or truncate on account_limits
    for each statement execute function raise_config_version();
create trigger config_changed after insert or update or delete or truncate on measuring_starts
    for each statement execute function raise_config_version();
create trigger change_recorded after insert or update or delete on account_limits
    for each row execute function record_config_change('limits', 'account_id');
create trigger change_recorded after insert or update or delete on measuring_starts
    for each row execute function record_config_change('measuring start', 'account_id');
