"""Send requests to an image registry over HTTP, with tokens, redirects and retries.

If the registry requires a token (401 with a Bearer challenge), it is fetched from the challenge's realm, with the login
that ``docker login`` stored, if there is one, see https://distribution.github.io/distribution/spec/auth/token. The
tournament's API token is never sent to a registry.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
import urllib.parse
from typing import TYPE_CHECKING, Any, Self

from builder import commands, errors
from builder.net import address, http, retry
from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.engine import docker_config
    from builder.progress import Progress

_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
_DOCKER_HUB_HOST = "registry-1.docker.io"  # docker.io itself does not serve the registry API
_MAX_BYTES = 8 << 20  # limit for a manifest or an image's configuration; real ones have a few kilobytes
# Not retried if the host cannot be reached: that rarely changes within seconds. A lost connection is retried.
_POLICY = retry.RetryPolicy(attempts=3, first=0.5, longest=20.0, unsent=False)
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9-]*)(?=\s*(?:,|$)|\s+\w+\s*=)")
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')


class RegistryClient:
    """The API of one registry; connections stay open until the context ends.

    Args:
        host: The registry's name in references, ``docker.io`` for Docker Hub.
        find_login: Returns the stored login, or None; called only if the registry requires one.
        progress: Shows retries, and a login that cannot be read.
        seconds: Time without data from the registry before a request fails.
    """

    def __init__(
        self,
        host: str,
        find_login: Callable[[], docker_config.Login | None],
        progress: Progress,
        *,
        seconds: float = http.TIMEOUT_SECONDS,
    ) -> None:
        self._find_login, self._progress, self._seconds = find_login, progress, seconds
        self._login_fix = f"run `docker login {host}`"  # the fix if a login is required
        self._host = host
        self._base = (
            f"{'http' if http.is_local(f'//{host}') else 'https'}://{_DOCKER_HUB_HOST if host == 'docker.io' else host}"
        )
        self._authorization: dict[str, str] = {}  # by repository
        self._clients = contextlib.ExitStack()
        self._http: dict[object, http.Client] = {}  # by origin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.close()

    def get(self, repository: str, path: str, subject: str) -> http.HttpResponse:
        """Return a response with status 200; fetch a token if the registry requires one.

        Args:
            repository: The repository's path in the registry.
            path: The path below the repository, such as ``manifests/TAG``.
            subject: The start of messages.

        Raises:
            errors.ImageNotFoundError: The registry does not have the tag or digest.
            errors.NetworkError: The registry does not answer, requires a login, or sends an invalid response.
        """
        url = f"{self._base}/v2/{repository}/{path}"
        response = self._get_with_retries(url, self._authorization.get(repository, ""), subject)
        if response.status_code == 401:
            self._authorization[repository] = self._authorize(response.headers, repository, subject)
            response = self._get_with_retries(url, self._authorization[repository], subject)
        if response.status_code == 200:
            return response
        reason = _format_reason(response.body)
        if response.status_code in {401, 403}:
            raise errors.NetworkError(f"{subject}: the registry requires a login{reason}: {self._login_fix}")
        if response.status_code == 404:
            raise errors.ImageNotFoundError(
                f"{subject}: {'digest' if '@' in subject else 'tag'} not found in the registry{reason}; check the "
                f"reference (`{commands.suggest_plain('images')}` lists the tournament's)"
            )
        raise errors.NetworkError(f"{subject}: HTTP {response.status_code}{reason}; check the reference")

    @functools.cached_property
    def _login(self) -> docker_config.Login | None:
        """The stored login; None, and a note, if it cannot be read: most images require no login."""
        try:
            login = self._find_login()
        except errors.LoginError as error:
            self._login_fix = str(error)
            self._progress.note(f"note: {error}; no login is sent to {self._host}")
            return None
        return login if login and login.user else None  # only engines can use an identity token

    def _get_with_retries(self, url: str, authorization: str, subject: str) -> http.HttpResponse:
        """Get a URL; retry if the registry is busy or the connection is lost."""

        def report(pause: float, _: object) -> None:
            self._progress.step(f"retrying {subject} in {pause:.0f} s")

        return retry.retry(lambda: self._get_once(url, authorization, subject), _POLICY, on_retry=report)

    def _get_once(self, url: str, authorization: str, subject: str) -> http.HttpResponse:
        """Get a URL once; the token or login is not sent to another host, such as the storage of blobs."""
        own_origin = address.get_origin(url)

        def send(url: str) -> http.HttpResponse:
            nonlocal authorization
            if address.get_origin(url) != own_origin:
                authorization = ""  # also for a later redirect back to the registry
            return self._send(url, authorization, subject)

        response = http.follow_redirects(
            url, send, refuse=http.find_redirect_problem, fix="check the reference", subject=subject
        )
        if response.status_code not in http.BUSY_STATUSES:
            return response
        problem = "got too many requests" if response.status_code == 429 else "failed"
        text, after = (
            f"{subject}: the registry {problem} (HTTP {response.status_code})",
            http.read_retry_after(response.headers),
        )
        if after > _POLICY.longest:
            raise errors.NetworkError(f"{text}; run it again later")
        raise errors.UnavailableError(text, remedy="run it again later", sent=True, after=after)

    def _send(self, url: str, authorization: str, subject: str) -> http.HttpResponse:
        headers = {"Accept": _ACCEPT} | ({"Authorization": authorization} if authorization else {})
        with http.translate_errors(subject, seconds=self._seconds):
            origin = address.get_origin(url)
            client = self._http.get(origin)
            if client is None:
                client = self._clients.enter_context(http.create_client(url, seconds=self._seconds))
                self._http[origin] = client
            return http.send(client, "GET", url, headers, max_bytes=_MAX_BYTES, subject=subject)

    def _authorize(self, headers: Mapping[str, str], repository: str, subject: str) -> str:
        """Return the Authorization header that a challenge requires.

        Bearer is preferred to Basic, because a token is often available without a login.
        """
        challenges = _parse_challenges(headers.get("www-authenticate", ""))
        login = self._login
        if "bearer" not in challenges and "basic" in challenges and login:
            return _format_basic_auth(login)
        parameters = challenges.get("bearer", {})
        realm = parameters.get("realm", "")
        if not realm:
            raise errors.NetworkError(f"{subject}: the registry requires a login: {self._login_fix}")
        if http.find_redirect_problem(self._base, realm):
            raise errors.NetworkError(
                f"{subject}: the registry's token server {http.redact_url(realm)} is not secure (only https is allowed)"
            )
        query_values = {
            "service": parameters.get("service", ""),
            "scope": parameters.get("scope") or f"repository:{repository}:pull",
        }
        query = urllib.parse.urlencode({key: value for key, value in query_values.items() if value})
        url = f"{realm}{'&' if urllib.parse.urlsplit(realm).query else '?'}{query}"
        token_subject = f"{subject}: token from {http.redact_url(realm)}"
        response = self._get_with_retries(url, _format_basic_auth(login) if login else "", token_subject)
        if response.status_code in {401, 403} and login:
            raise errors.NetworkError(f"{token_subject}: the login was rejected: run `docker login {self._host}` again")
        if response.status_code in {401, 403}:
            raise errors.NetworkError(f"{subject}: the registry requires a login: {self._login_fix}")
        if response.status_code != 200:
            raise errors.NetworkError(f"{token_subject}: HTTP {response.status_code}; run it again later")
        data = parse_object(response.body, token_subject)
        token = data.get("token") or data.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise errors.NetworkError(f"{token_subject}: invalid response without a token; run it again later")
        return f"Bearer {token}"


def _parse_challenges(text: str) -> dict[str, dict[str, str]]:
    """Parse WWW-Authenticate headers, joined by commas; return the parameters of the first challenge of each scheme."""
    starts = list(_SCHEME.finditer(text))
    challenges: dict[str, dict[str, str]] = {}
    for match, end in zip(starts, [*(match.start() for match in starts[1:]), len(text)], strict=False):
        parameters = {
            key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(text[match.end() : end])
        }
        challenges.setdefault(match[1].lower(), parameters)
    return challenges


def _format_basic_auth(login: docker_config.Login) -> str:
    return f"Basic {base64.b64encode(f'{login.user}:{login.password}'.encode()).decode()}"


def parse_object(body: bytes, subject: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        errors.NetworkError: It is something else.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise errors.NetworkError(
            f"{subject}: the response is not a JSON object; is this a registry? Check the reference"
        )
    return data


def _format_reason(body: bytes) -> str:
    """Return the error message in a registry's response, in parentheses, or an empty string."""
    with contextlib.suppress(ValueError, RecursionError, LookupError, TypeError, AttributeError):
        first = json.loads(body)["errors"][0]
        text = str(first.get("message") or first.get("code") or "")[:150]
        return f" ({escape(text)})" if text else ""
    return ""
