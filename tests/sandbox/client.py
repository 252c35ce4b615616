"""A minimal client of the sandbox: one connection per request, no retries."""

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
AUTHORISE = "query($filename: String!, $modelId: ID) { computePickleUploadAuth(filename: $filename, modelId: $modelId) { filename url } }"  # noqa: E501
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
    """A response, read completely."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body as JSON."""
        return json.loads(self.body)


class Client:
    """Sends requests to a sandbox with the token of a name, or without one."""

    def __init__(self, sandbox: Sandbox, token: str | None = sandbox_state.FULL) -> None:
        self._sandbox = sandbox
        self._token = token

    def post(self, query: str, **variables: Any) -> Response:
        """Post a query."""
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = self._sandbox.state.get_token(self._token).header
        body = json.dumps({"query": query, "variables": variables}).encode()
        return send("POST", self._sandbox.api_url, body, headers)

    def data(self, query: str, **variables: Any) -> Any:
        """Post a query with a single root field and return its value; fail if there are errors."""
        response = self.post(query, **variables).json()
        assert "errors" not in response, response
        [value] = response["data"].values()
        return value

    def refusal(self, query: str, **variables: Any) -> str:
        """Return the error message of a query that is refused."""
        response = self.post(query, **variables)
        assert response.status == 200
        errors = response.json()["errors"]
        return str(errors["detail"] if isinstance(errors, dict) else errors[0]["message"])

    def authorise(self, slot: str | None = "fresh", filename: str = "model.pkl") -> tuple[str, str]:
        """Authorise an upload; return the stored name and the presigned URL."""
        auth = self.data(AUTHORISE, filename=filename, modelId=self._sandbox.state.get_slot(slot).id if slot else None)
        return auth["filename"], auth["url"]

    def upload(self, slot: str | None = "fresh", content: bytes = b"a pickle", filename: str = "model.pkl") -> Any:
        """Authorise, store and register a pickle; return the registered pickle."""
        stored, url = self.authorise(slot, filename)
        assert send("PUT", url, content).status == 200
        return self.data(CREATE, filename=stored, modelId=self._sandbox.state.get_slot(slot).id if slot else None)

    def pickle(self, pickle_id: str) -> Any:
        """Read a registered pickle."""
        [pickle] = self.data(PICKLES, id=pickle_id)
        return pickle


def send(method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """Send one request with these headers, Host and Content-Length, and no others."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=SECONDS)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, dict(headers or {}))
        response = connection.getresponse()
        return Response(status=response.status, headers=dict(response.headers), body=response.read())
    finally:
        connection.close()
