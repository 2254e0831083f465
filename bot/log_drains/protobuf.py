"""Pure: lines as OTLP's protobuf, which every collector takes. What it says is what its JSON says."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bot.log_drains import forms
from bot.log_drains.forms import Source
from bot.store.outputs import Kept


def otlp(source: Source, lines: Sequence[Kept], at: int) -> bytes:
    """An ExportLogsServiceRequest, seen `at`: a resource for each container.

    https://opentelemetry.io/docs/specs/otlp/#binary-protobuf-encoding
    """
    request = ExportLogsServiceRequest()
    for theirs in forms.by_container(lines):
        told = request.resource_logs.add()
        for key, value in forms.resource(source, theirs[0].said).items():
            told.resource.attributes.add(key=key).value.string_value = _text(value)
        scope = told.scope_logs.add()
        scope.scope.name = forms.SCOPE
        for one in theirs:
            record = scope.log_records.add(time_unix_nano=one.said.at, observed_time_unix_nano=at)
            if one.said.note:
                record.severity_number, record.severity_text = forms.NOTED
            record.body.string_value = _text(one.said.text)
            record.attributes.add(key=forms.PLACE).value.int_value = one.place
    return bytes(request.SerializeToString())


def _text(text: str) -> str:
    """Half of a pair of surrogates is no UTF-8, which a string of protobuf has to be."""
    return text.encode(errors="replace").decode()
