"""The authorization server for interactive MCP clients: the library's endpoints over our own records.

The library parses and checks what OAuth says of each message; ``tally.oauth`` keeps clients, codes and tokens. The user
answers on a page of the web door.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
from fastmcp.server.auth import AccessToken, OAuthProvider
from fastmcp.server.auth.auth import TokenHandler
from fastmcp.server.dependencies import get_http_request
from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.metadata import MetadataHandler
from mcp.server.auth.middleware.client_auth import AuthenticationError, ClientAuthenticator
from mcp.server.auth.provider import (
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    RefreshToken,
    RegistrationError,
    TokenError,
)
from mcp.server.auth.routes import build_metadata, cors_middleware
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl, AnyUrl, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tallystick.bootstrap import Tally
from tallystick.core import errors
from tallystick.core.redirects import matches, with_answer
from tallystick.mcp.callers import access_of, resource_of
from tallystick.services.oauth import LONGEST_NAME, Tokens

T = TypeVar("T")

CONSENT: Final = "/oauth/consent"
METADATA: Final = "/.well-known/oauth-authorization-server"
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_NO_END: Final = float("inf")  # our clock decides what is too old, and the library's own must not


def may_authorize(public_url: str) -> bool:
    """Whether passwords and tokens may pass: over HTTPS, or within this machine. OAuth allows nothing else."""
    parts = urlsplit(public_url)
    return parts.scheme == "https" or parts.hostname in {"localhost", "127.0.0.1", "::1"}


class Client(OAuthClientInformationFull):
    """A registered client, whose redirects are compared as OAuth 2.1 says, and whose scopes are none: an app is the user."""

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        """The redirect, if it was registered. An app on its own machine may listen on any port."""
        registered = self.redirect_uris or []
        if redirect_uri is None and len(registered) == 1:
            return registered[0]
        if redirect_uri is None or not any(matches(str(each), str(redirect_uri)) for each in registered):
            raise InvalidRedirectUriError("redirect_uri is not one that this client has registered")
        return redirect_uri

    def validate_scope(self, requested_scope: str | None) -> None:
        """There are no scopes to be had."""
        del requested_scope


class AuthorizationServer(OAuthProvider):
    """Lets clients register and users connect them. Bearer tokens may also be API keys and sessions.

    One function looks all of them up, and what it raises is not caught: a database that is away is no invalid token, for
    which clients would throw theirs away.
    """

    def __init__(self, tally: Tally) -> None:
        super().__init__(
            base_url=tally.context.public_url,
            client_registration_options=ClientRegistrationOptions(enabled=True),
            revocation_options=RevocationOptions(enabled=True),
        )
        self._tally = tally

    @property
    def issuer(self) -> str:
        """The name by which clients know this server, letter by letter (RFC 9207)."""
        return str(self.issuer_url)

    # --- clients ----------------------------------------------------------------------------------------------------

    async def get_client(self, client_id: str) -> Client | None:
        """A client that has registered."""
        document = await _in_thread(self._tally.oauth.client, client_id)
        return None if document is None else Client.model_validate_json(document)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a client. A secret proves nothing of somebody who registered himself, so it gets none."""
        client_info.token_endpoint_auth_method = "none"  # noqa: S105 - the name of a method
        client_info.client_secret = client_info.client_secret_expires_at = client_info.scope = None
        redirects = [str(each) for each in client_info.redirect_uris or []]
        name = " ".join((client_info.client_name or "An app without a name").split())[:LONGEST_NAME]
        document, ip = client_info.model_dump_json(exclude_none=True), _address()

        def work() -> None:
            self._tally.oauth.register(
                client_info.client_id, name=name, redirects=redirects, document=document, ip=ip
            )

        try:
            await _in_thread(work)
        except errors.ValidationFailed as refusal:
            is_redirect = refusal.detail.startswith("redirect_uris")
            raise RegistrationError(
                "invalid_redirect_uri" if is_redirect else "invalid_client_metadata", refusal.detail
            ) from refusal

    # --- asking the user --------------------------------------------------------------------------------------------

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """Where the user is asked."""
        resource, ip = resource_of(self._tally), _address()
        if params.resource is not None and not _same(params.resource, resource):
            raise AuthorizeError("invalid_target", f"this server gives tokens for {resource} only")

        def work() -> str:
            return self._tally.oauth.ask(
                client.client_id,
                redirect_uri=str(params.redirect_uri),
                redirect_uri_sent=params.redirect_uri_provided_explicitly,
                state=params.state,
                code_challenge=params.code_challenge,
                resource=resource,
                ip=ip,
            )

        try:
            request = await _in_thread(work)
        except errors.ValidationFailed as refusal:
            raise AuthorizeError("invalid_request", refusal.detail) from refusal
        except errors.Refusal as refusal:
            raise AuthorizeError("temporarily_unavailable", refusal.detail) from refusal
        return f"{self._tally.context.public_url}{CONSENT}?request={request}"

    # --- tokens -----------------------------------------------------------------------------------------------------

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        """What a code stands for."""
        row = await _in_thread(self._tally.oauth.code, client.client_id, authorization_code)
        if row is None:
            return None
        return AuthorizationCode(
            code=authorization_code,
            scopes=[],
            expires_at=_NO_END,
            client_id=row.client_id,
            code_challenge=row.code_challenge,
            redirect_uri=AnyUrl(row.redirect_uri),
            redirect_uri_provided_explicitly=row.redirect_uri_sent,
            resource=row.resource,
        )

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        """Tokens for a code."""
        made = await _in_thread(self._tally.oauth.exchange, client.client_id, authorization_code.code)
        return _token(made, "this code was used already, or it is too old")

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        """What a refresh token stands for."""
        row = await _in_thread(self._tally.oauth.refreshable, client.client_id, refresh_token)
        if row is None:
            return None
        return RefreshToken(token=refresh_token, client_id=row.client_id, scopes=[], resource=row.resource)

    async def exchange_refresh_token(
        self,
        client: OAuthClientInformationFull,
        refresh_token: RefreshToken,
        scopes: list[str],
    ) -> OAuthToken:
        """New tokens for a refresh token."""
        del scopes  # there are none
        made = await _in_thread(self._tally.oauth.refresh, client.client_id, refresh_token.token)
        return _token(made, "this refresh token was used already: connect the app again")

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Who a bearer token acts for: an app's access token, a session's, or an API key."""
        return await access_of(self._tally, token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        """End an app by one of its tokens. Our own endpoint does not ask the library for this."""
        await _in_thread(self._tally.oauth.revoke, token.client_id, token.token)

    # --- endpoints --------------------------------------------------------------------------------------------------

    def get_routes(self, mcp_path: str | None = None) -> list[Route]:
        """The library's endpoints, with those of ours where it would expect clients to have secrets."""
        asking = _Authorizing(self, issuer=self.issuer)
        giving = _Giving(self, ClientAuthenticator(self), resource=resource_of(self._tally))
        ours: dict[str, Route] = {
            METADATA: _route(METADATA, self._metadata().handle, "GET"),
            "/authorize": Route("/authorize", asking.handle, methods=["GET", "POST"]),
            "/token": _route("/token", giving.handle, "POST"),
            "/revoke": _route("/revoke", self._revoke, "POST"),
        }
        routes = [ours.get(route.path, route) for route in super().get_routes(mcp_path)]
        path = urlsplit(self.issuer).path.rstrip("/")
        if path:  # RFC 8414 section 3.1: the path of the issuer comes last
            routes.append(_route(f"{METADATA}{path}", self._metadata().handle, "GET"))
        return routes

    def _metadata(self) -> MetadataHandler:
        found = build_metadata(
            AnyHttpUrl(self.issuer),
            None,
            self.client_registration_options or ClientRegistrationOptions(),
            self.revocation_options or RevocationOptions(),
        )
        found.token_endpoint_auth_methods_supported = ["none"]
        found.revocation_endpoint_auth_methods_supported = ["none"]
        found.authorization_response_iss_parameter_supported = True
        return MetadataHandler(found)

    async def _revoke(self, request: Request) -> Response:
        """RFC 7009. The library's own endpoint insists on a secret."""
        try:
            client = await ClientAuthenticator(self).authenticate_request(request)
        except AuthenticationError as error:
            return JSONResponse(
                {"error": "invalid_client", "error_description": error.message}, 401, _NO_STORE
            )
        token = (await request.form()).get("token")
        if not isinstance(token, str):
            answer = {"error": "invalid_request", "error_description": "token is missing"}
            return JSONResponse(answer, 400, _NO_STORE)
        await _in_thread(self._tally.oauth.revoke, client.client_id, token)
        return Response(status_code=200, headers=_NO_STORE)


class _Authorizing(AuthorizationHandler):
    """The library's endpoint, which says in its errors, too, who answers (RFC 9207)."""

    def __init__(self, provider: AuthorizationServer, *, issuer: str) -> None:
        super().__init__(provider)
        self._issuer = issuer

    async def handle(self, request: Request) -> Response:
        """Send the user to the page that asks, or the client an error."""
        response = await super().handle(request)
        location = response.headers.get("location")
        if location is not None and "error" in parse_qs(urlsplit(location).query):
            response.headers["location"] = with_answer(location, iss=self._issuer)
        return response


class _Giving(TokenHandler):
    """The library's token endpoint, which heeds the resource that a client names (RFC 8707)."""

    def __init__(
        self, provider: AuthorizationServer, authenticator: ClientAuthenticator, *, resource: str
    ) -> None:
        super().__init__(provider, authenticator)
        self._resource = resource

    async def handle(self, request: Request) -> Response:
        """Give tokens, for this server only."""
        for asked in (await request.form()).getlist("resource"):
            if not isinstance(asked, str) or not _same(asked, self._resource):
                detail = f"this server gives tokens for {self._resource} only"
                answer = {"error": "invalid_target", "error_description": detail}
                return JSONResponse(answer, 400, _NO_STORE)
        response: Response = await super().handle(request)
        return response


def _route(path: str, handle: Callable[[Request], Any], method: str) -> Route:
    """An endpoint that apps in browsers may use, too."""
    methods = [method, "OPTIONS"]
    return Route(path, cors_middleware(handle, methods), methods=methods)


async def _in_thread(work: Callable[..., T], *arguments: str) -> T:
    return await anyio.to_thread.run_sync(work, *arguments)


def _token(made: Tokens | None, why: str) -> OAuthToken:
    if made is None:
        raise TokenError("invalid_grant", why)
    return OAuthToken(access_token=made.access, refresh_token=made.refresh, expires_in=made.expires_in)


def _same(asked: str, resource: str) -> bool:
    """Whether a client means this server: however it writes the host, the port and the end of the path."""
    try:
        return str(AnyHttpUrl(asked)).rstrip("/") == str(AnyHttpUrl(resource)).rstrip("/")
    except ValidationError:
        return False


def _address() -> str | None:
    request = get_http_request()
    return None if request.client is None else request.client.host
