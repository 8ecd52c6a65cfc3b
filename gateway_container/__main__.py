"""`python -m gateway_container`: one gateway process. Prints one line of JSON when it is ready."""

import json
import sys

import uvloop

from gateway_container.compose import serve
from kopitra.domain.errors import KopitraError
from kopitra.settings import Settings
from kopitra.telemetry import configure_logging


def main() -> int:
    """Exit codes: 0 stopped on request, 2 wrong settings or store, 3 the lease was lost."""
    settings = Settings()
    configure_logging(settings.log_level)
    if settings.database_url is None:
        sys.stderr.write(
            "DATABASE_URL is not set: `kopitra gateway` starts an embedded PostgreSQL for you.\n"
        )
        return 2
    dsn = settings.database_url.get_secret_value()
    try:
        return uvloop.run(serve(settings, dsn, _ready))
    except KopitraError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 2


def _ready(host: str, port: int, live: int) -> None:
    sys.stdout.write(json.dumps({"host": host, "port": port, "sessionsLive": live}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
