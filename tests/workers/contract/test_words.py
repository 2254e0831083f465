"""What may change in the contract, and what raises its version."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from workers.contract import envelopes
from workers.contract.messages import VERSION, events, offers, orders, requests


def required(schema: dict[str, Any]) -> dict[str, list[str]]:
    """The fields without a default, by message."""
    models = {"itself": schema, **schema.get("$defs", {})}
    return {name: sorted(model.get("required", [])) for name, model in models.items()}


def test_what_has_to_be_in_a_message_stays_as_it_is_within_a_version() -> None:
    """A field more needs a default. Whoever changes it otherwise raises VERSION, and then this line."""
    adapters = (offers, orders, requests, events, envelopes.replies, envelopes.numbered)
    has_to = [required(adapter.json_schema()) for adapter in adapters]
    digest = hashlib.sha256(json.dumps(has_to, sort_keys=True).encode()).hexdigest()

    assert (VERSION, digest[:12]) == (6, "0b00eec5225d")
