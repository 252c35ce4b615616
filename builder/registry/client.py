"""Asking an image registry over HTTP: tokens, redirects, waiting, and what an answer that is no image means.

A registry that asks for a token (401 with a Bearer challenge) is given one, fetched from where it says, anonymously or
with what ``docker login`` keeps. The tournament's token never comes here.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
import urllib.parse
from typing import TYPE_CHECKING, Any, Self

from builder import errors
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
_HUB = "registry-1.docker.io"  # where docker.io really is
_MOST_BYTES = 8 << 20  # of a manifest or an image's configuration; real ones have some kilobytes
# A host that is not reached at all is not there; a connection that was cut may hold the next time.
_POLICY = retry.RetryPolicy(attempts=3, first=0.5, longest=20.0, unsent=False)
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9-]*)(?=\s*(?:,|$)|\s+\w+\s*=)")
_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')


class RegistryClient:
    """One registry's API; a connection is kept open for all questions.

    Args:
        host: As references name it, ``docker.io`` for Docker Hub.
        find_login: Returns what ``docker login`` keeps for it, or None; called once the registry asks for a login.
        progress: Told when something is asked again, and of a login that cannot be read.
        seconds: How long it may be silent.
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
        self._no_login = f"run `docker login {host}`"  # what to do where a login is required
        self._shown = host
        self._base = f"{'http' if http.is_local(f'//{host}') else 'https'}://{_HUB if host == 'docker.io' else host}"
        self._authorization: dict[str, str] = {}  # by repository
        self._clients = contextlib.ExitStack()
        self._http: dict[object, http.Client] = {}  # by origin

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clients.close()

    def get(self, repository: str, path: str, at: str) -> http.HttpResponse:
        """Return a good answer; a token is fetched where one is asked for.

        Args:
            repository: In the registry.
            path: Below it, such as ``manifests/TAG``.
            at: What is asked for, as a message may show it.

        Raises:
            errors.ImageNotFoundError: The registry has no such thing.
            errors.NetworkError: It does not answer, requires a login, or says what cannot be.
        """
        url = f"{self._base}/v2/{repository}/{path}"
        answer = self._patiently(url, self._authorization.get(repository, ""), at)
        if answer.status_code == 401:
            self._authorization[repository] = self._authorize(answer.headers, repository, at)
            answer = self._patiently(url, self._authorization[repository], at)
        if answer.status_code == 200:
            return answer
        said = _words(answer.body)
        if answer.status_code in {401, 403}:
            raise errors.NetworkError(f"{at}: the registry requires a login{said}: {self._no_login}")
        if answer.status_code == 404:
            raise errors.ImageNotFoundError(
                f"{at}: the registry has no such {'digest' if '@' in at else 'tag'}{said}; look at the reference "
                "(`python -m builder images` lists the tournament's)"
            )
        raise errors.NetworkError(f"{at}: HTTP {answer.status_code}{said}; look at the reference")

    @functools.cached_property
    def _login(self) -> docker_config.Login | None:
        """What ``docker login`` keeps; None, and a note, where it cannot be read: most images require none."""
        try:
            found = self._find_login()
        except errors.LoginError as error:
            self._no_login = str(error)
            self._progress.note(f"note: {error}; {self._shown} is asked without a login")
            return None
        return found if found and found.user else None  # an identity token is for engines only

    def _patiently(self, url: str, authorization: str, at: str) -> http.HttpResponse:
        """Ask, and ask again where the registry says that it could not answer now."""

        def tell(pause: float, _: object) -> None:
            self._progress.step(f"asking the registry again for {at} in {pause:.0f} s")

        return retry.retry(lambda: self._ask(url, authorization, at), _POLICY, on_retry=tell)

    def _ask(self, url: str, authorization: str, at: str) -> http.HttpResponse:
        """Ask once; blobs often lie at a storage, which is sent no token and no login."""
        own = address.get_origin(url)

        def send(url: str) -> http.HttpResponse:
            nonlocal authorization
            if address.get_origin(url) != own:
                authorization = ""  # nor after a way back from there
            return self._send(url, authorization, at)

        answer = http.follow_redirects(
            url, send, refuse=http.find_redirect_problem, fix="look at the reference", subject=at
        )
        if answer.status_code not in http.BUSY_STATUSES:
            return answer
        said = "was asked too often" if answer.status_code == 429 else "failed"
        text, after = f"{at}: the registry {said} (HTTP {answer.status_code})", http.read_retry_after(answer.headers)
        if after > _POLICY.longest:
            raise errors.NetworkError(f"{text}; run it again later")
        raise errors.UnavailableError(text, remedy="run it again later", sent=True, after=after)

    def _send(self, url: str, authorization: str, at: str) -> http.HttpResponse:
        headers = {"Accept": _ACCEPT} | ({"Authorization": authorization} if authorization else {})
        with http.translate_errors(at, seconds=self._seconds):
            origin = address.get_origin(url)
            client = self._http.get(origin)
            if client is None:
                client = self._clients.enter_context(http.create_client(url, seconds=self._seconds))
                self._http[origin] = client
            return http.send(client, "GET", url, headers, max_bytes=_MOST_BYTES, subject=at)

    def _authorize(self, headers: Mapping[str, str], repository: str, at: str) -> str:
        """Return what a challenge asks for; of several, a token, which may be had without a login."""
        offered = _challenges(headers.get("www-authenticate", ""))
        login = self._login
        if "bearer" not in offered and "basic" in offered and login:
            return _basic(login)
        asked = offered.get("bearer", {})
        realm = asked.get("realm", "")
        if not realm:
            raise errors.NetworkError(f"{at}: the registry requires a login: {self._no_login}")
        if http.find_redirect_problem(self._base, realm):
            raise errors.NetworkError(
                f"{at}: the registry sends to {http.redact_url(realm)} for a token, which is not asked: only https is"
            )
        wanted = {"service": asked.get("service", ""), "scope": asked.get("scope") or f"repository:{repository}:pull"}
        query = urllib.parse.urlencode({key: value for key, value in wanted.items() if value})
        url = f"{realm}{'&' if urllib.parse.urlsplit(realm).query else '?'}{query}"
        said = f"{at}: a token of {http.redact_url(realm)}"
        answer = self._patiently(url, _basic(login) if login else "", said)
        if answer.status_code in {401, 403} and login:
            raise errors.NetworkError(f"{said}: the login is refused: run `docker login {self._shown}` again")
        if answer.status_code in {401, 403}:
            raise errors.NetworkError(f"{at}: the registry requires a login: {self._no_login}")
        if answer.status_code != 200:
            raise errors.NetworkError(f"{said}: HTTP {answer.status_code}; run it again later")
        data = read_object(answer.body, said)
        token = data.get("token") or data.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise errors.NetworkError(f"{said}: there is none in the answer; run it again later")
        return f"Bearer {token}"


def _challenges(text: str) -> dict[str, dict[str, str]]:
    """Return what each scheme of a WWW-Authenticate asks for, several headers joined by commas; the first of each."""
    starts = list(_SCHEME.finditer(text))
    found: dict[str, dict[str, str]] = {}
    for one, end in zip(starts, [*(one.start() for one in starts[1:]), len(text)], strict=False):
        asked = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(text[one.end() : end])}
        found.setdefault(one[1].lower(), asked)
    return found


def _basic(login: docker_config.Login) -> str:
    return f"Basic {base64.b64encode(f'{login.user}:{login.password}'.encode()).decode()}"


def read_object(body: bytes, at: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        errors.NetworkError: It is none.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise errors.NetworkError(f"{at}: the answer is no JSON object; is this a registry? Look at the reference")
    return data


def _words(body: bytes) -> str:
    """Return what the registry says is wrong, as a message may show it."""
    with contextlib.suppress(ValueError, RecursionError, LookupError, TypeError, AttributeError):
        first = json.loads(body)["errors"][0]
        text = str(first.get("message") or first.get("code") or "")[:150]
        return f" ({escape(text)})" if text else ""
    return ""
