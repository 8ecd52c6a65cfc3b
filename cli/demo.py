"""`kopitra demo`: the main job from one command."""

from pathlib import Path

import typer

from cli.rim import run


def demo(
    once: bool = typer.Option(False, "--once", help="Play, check, report and end."),
    as_json: bool = typer.Option(False, "--json", help="The report as one JSON object on standard output."),
    port: int = typer.Option(0, min=0, max=65_535, help="The gateway's port; 0 takes any."),
    broker: list[str] = typer.Option(
        [], help="The two brokers that take part (twice); left out: the first two."
    ),
    broker_ms: int = typer.Option(
        0, min=0, max=1_000, help="Milliseconds the brokers take to answer; streams do not wait."
    ),
    data_dir: Path = typer.Option(Path(".kopitra/demo"), help="Its data; thrown away at every start."),
) -> None:
    """Run the main job: a database, two simulated brokers, the gateway, one leader and 20 followers.

    It plays a TradingView alert, an EA's signal sent twice, and a leader trading by hand, and checks each
    follower against plain arithmetic and the brokers' own ledgers. Exit code 1 when anything differs.

    Example: kopitra demo --once --json
    """
    from cli.local.theatre import perform  # heavy: other commands do without it

    run(perform(once, as_json, port, broker, data_dir, broker_ms))
