"""A plain client of the sandbox for its own tests: each request on a connection of its own, nothing retried."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.sandbox import state as sandbox_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.sandbox.server import Sandbox

SECONDS = 30
AUTHORISE = "query($filename: String!, $modelId: ID) { computePickleUploadAuth(filename: $filename, modelId: $modelId) { filename url } }"  # noqa: E501 - as one line it is searched for
CREATE = """
mutation($filename: String!, $modelId: ID, $image: ID, $data: ID) {
  createComputePickleUpload(
    filename: $filename, tournament: 8, modelId: $modelId, dockerImageId: $image, dataVersionId: $data
  ) { id filename validationStatus }
}"""
ASSIGN = "mutation($modelId: String, $pickleId: ID) { assignPickleToModel(modelId: $modelId, pickleId: $pickleId) }"
PICKLES = """
query($id: ID, $modelId: ID, $unassigned: Boolean! = false) {
  computePickles(id: $id, modelId: $modelId, unassigned: $unassigned) {
    id filename label version modelId assignedModelSlots dockerImage dataVersion validationStatus triggerStatus
    diagnosticsStatus diagnosticsId
    triggers { id status roundId submissionId type statuses { status description insertedAt } }
  }
}"""


@dataclass(frozen=True, kw_only=True)
class Response:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON."""
        return json.loads(self.body)


class Client:
    """Asks a sandbox; ``token`` is the name of one, or None to send none."""

    def __init__(self, sandbox: Sandbox, token: str | None = sandbox_state.FULL) -> None:
        self._sandbox = sandbox
        self._token = token

    def post(self, query: str, **variables: Any) -> Response:
        """Post a query and return the answer."""
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = self._sandbox.state.get_token(self._token).header
        body = json.dumps({"query": query, "variables": variables}).encode()
        return send("POST", self._sandbox.api_url, body, headers)

    def data(self, query: str, **variables: Any) -> Any:
        """Return the value of the one field that is asked for; there must be no errors."""
        answer = self.post(query, **variables).json()
        assert "errors" not in answer, answer
        [value] = answer["data"].values()
        return value

    def refusal(self, query: str, **variables: Any) -> str:
        """Return what a query is refused with."""
        answer = self.post(query, **variables)
        assert answer.status == 200
        errors = answer.json()["errors"]
        return str(errors["detail"] if isinstance(errors, dict) else errors[0]["message"])

    def authorise(self, slot: str | None = "fresh", filename: str = "model.pkl") -> tuple[str, str]:
        """Return the stored name and the address for an upload."""
        actual = self.data(
            AUTHORISE, filename=filename, modelId=self._sandbox.state.get_slot(slot).id if slot else None
        )
        return actual["filename"], actual["url"]

    def upload(self, slot: str | None = "fresh", content: bytes = b"a pickle", filename: str = "model.pkl") -> Any:
        """Authorise, store and register; returns what registering answered."""
        stored, url = self.authorise(slot, filename)
        assert send("PUT", url, content).status == 200
        return self.data(CREATE, filename=stored, modelId=self._sandbox.state.get_slot(slot).id if slot else None)

    def pickle(self, pickle_id: str) -> Any:
        """Return a registered pickle."""
        [actual] = self.data(PICKLES, id=pickle_id)
        return actual


def send(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """Send one request; headers that are not named are not sent, but for Host and Content-Length."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=SECONDS)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, dict(headers or {}))
        answer = connection.getresponse()
        return Response(status=answer.status, headers=dict(answer.headers), body=answer.read())
    finally:
        connection.close()
