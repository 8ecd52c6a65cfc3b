"""Toy Town's login: the password on the first line, an answer on the next."""

import asyncio

from kopitra.domain.errors import LoginRefused

from .codec import login_accepted, login_line


async def log_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, password: str) -> None:
    """Raises LoginRefused, which is fatal: trying a wrong password again can lock an account."""
    writer.write(login_line(password))
    if not login_accepted(await reader.readline()):
        raise LoginRefused("Toy Town refused the password; check the login's credentials")
