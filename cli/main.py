"""`kopitra`: the command line, put together. Exit codes are those of `cli/rim.py`."""

import typer

from cli import (
    accounts,
    builds,
    demo,
    deploy_gate,
    doubts,
    ea_sessions,
    flatten,
    followers,
    hooks,
    house_commands,
    keys,
    leaders,
    limits,
    logins,
    operators,
    projections,
    repairs,
    rules,
    signals,
    sims,
    switches,
    workspaces,
)
from cli.rim import Rim

app = typer.Typer(
    name="kopitra",
    cls=Rim,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_show_locals=False,
    help="Mirrors a leader's trades to many follower accounts, and can prove what it did. "
    "Exit codes: 0 done, 1 the answer is no, 2 wrong arguments, 3 something needed does not work.",
)

house_commands.add_to(app)
app.command("demo")(demo.demo)
app.command("deploy-gate")(deploy_gate.deploy_gate)
app.command("flatten")(flatten.flatten)
for name, group in (
    ("workspace", workspaces.app),
    ("login", logins.app),
    ("account", accounts.app),
    ("limits", limits.app),
    ("leader", leaders.app),
    ("follower", followers.app),
    ("rule", rules.app),
    ("key", keys.app),
    ("hook", hooks.app),
    ("operator", operators.app),
    ("doubt", doubts.app),
    ("ea-sessions", ea_sessions.app),
    ("repairs", repairs.app),
    ("projections", projections.app),
    ("builds", builds.app),
    ("news", deploy_gate.news),
    ("signal", signals.app),
    ("sim", sims.app),
    ("switch", switches.app),
):
    app.add_typer(group, name=name)

if __name__ == "__main__":
    app()
