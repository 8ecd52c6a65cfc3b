"""Settings from the environment (and a `.env` file beside the process); each has a default that a laptop can use."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What one gateway process needs to know. Names in the environment: KOPITRA_<NAME>, but for DATABASE_URL."""

    model_config = SettingsConfigDict(env_prefix="KOPITRA_", env_file=".env", extra="ignore", frozen=True)

    #: PostgreSQL; without it the embedded server in `data_dir` starts
    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    #: embedded database, key file, local state
    data_dir: Path = Path(".kopitra")
    host: str = "127.0.0.1"
    port: int = 8080
    shard: str = "main"
    #: name of this process in the lease; host and pid when left out
    holder: str = ""
    build: str = "dev"
    #: file with the master key that seals broker credentials; made at first start, mode 0600
    key_file: Path | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: the number of proxies in front that append to X-Forwarded-For; 0 trusts none
    trusted_proxies: int = 0
    #: OTLP endpoint for traces; empty: no traces
    otlp_endpoint: str = ""
    #: seconds that a lease lives without renewal: how long a shard is dark after a crash
    lease_ttl_s: float = Field(default=10.0, ge=0.5, le=60)
    #: seconds past its lease for which a gateway without a database may still send exits (R-073)
    exit_grace_s: float = Field(default=10.0, ge=0, le=60)
    #: a signal of the gateway's own each minute, to a shadow account
    canary: bool = True
    #: seconds for everything in flight to finish after SIGTERM
    drain_s: float = 5.0

    @property
    def key_path(self) -> Path:
        """Where the master key lies."""
        return self.key_file or self.data_dir / "master.key"
