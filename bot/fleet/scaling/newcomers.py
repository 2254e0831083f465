"""What a worker that the bot starts is given: a credential of its own, and its settings, as one TOML file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from bot.fleet import enrolment
from bot.fleet.scaling.provider import Newcomer
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import ScaledRow
from config.pools import Pool
from config.settings import Settings

# What a worker is to have as the bot has it, where it was set there.
_ALIKE = (
    "queue_prefix", "lease", "job_timeout", "shutdown", "log_format", "log_budget",
    "network_range", "firewall", "reachable",
    "build_memory", "build_cpus", "build_http_proxy", "build_https_proxy", "build_no_proxy",
    "disk_free", "cache_budget", "image_budget", "mirror_budget",
    "ecr_create", "ecr_scan", "ecr_immutable", "ecr_untagged_days",
)  # fmt: skip
# What it needs besides on a machine of the bot's own: an instance in EC2 has a role instead.
_FILES = ("queue_ca", "queue_certificate", "queue_key")  # only a process beside the bot has its files
NEARBY = ("worker_address", "aws_profile", "aws_access_key_id", "aws_secret_access_key")


def newcomer(row: ScaledRow, pool: Pool, store: Store, vault: Vault, settings: Settings) -> Newcomer:
    """A worker that is to come. Whoever asks for its settings ends the credential that it had."""

    async def text(own: Mapping[str, str]) -> str:
        made = await enrolment.add(store, vault, row.name, row.pool, replace=True)
        return written(settings, pool, made.text, own)

    return Newcomer(row.name, row.place, text)


def written(settings: Settings, pool: Pool, credential: str, own: Mapping[str, str]) -> str:
    """Pure: a worker's settings; `own` are those of its machine. Whoever reads them is that worker."""
    names = _ALIKE + (NEARBY if pool.kind != "ec2" else ())
    names += _FILES if pool.kind == "processes" else ()
    alike = {name: getattr(settings, name) for name in names if name in settings.model_fields_set}
    known = {
        **alike,
        "queue_url": settings.worker_queue_url or settings.queue_url,
        "worker_credential": credential,
        "worker_slots": pool.slots,
        **({"worker_labels": pool.labels.replace("+", ",")} if pool.labels else {}),
        **own,
    }
    return "".join(f"{name} = {_value(value)}\n" for name, value in known.items())


def _value(value: object) -> str:
    """https://toml.io/en/v1.0.0#string: basic strings are written as JSON's are."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return json.dumps(str(value) if isinstance(value, Path) else value)
