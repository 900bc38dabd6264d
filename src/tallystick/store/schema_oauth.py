"""The tables of the authorization server: what registered itself, who was asked, what was connected, and its tokens.

Everything has its end in ``expires_at``. Codes and tokens stand here by their digests only.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table, Text

from tallystick.store.schema import metadata


def _end() -> Column[int]:
    return Column("expires_at", BigInteger, nullable=False, index=True)


oauth_clients = Table(
    "oauth_clients",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    _end(),
)

# One row from the question to the exchange of its code: approving gives it a code and a connected app.
oauth_authorizations = Table(
    "oauth_authorizations",
    metadata,
    Column("request_hash", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("redirect_uri_sent", Integer, nullable=False),
    Column("state", Text),
    Column("code_challenge", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("code_hash", Text, unique=True),
    Column("app_id", BigInteger),
    Column("used_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    _end(),
)

connected_apps = Table(
    "connected_apps",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("client_id", ForeignKey("oauth_clients.id"), nullable=False, index=True),
    Column("resource", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    _end(),
)
Index("ix_connected_apps_user", connected_apps.c.user_id, connected_apps.c.used_at)

oauth_tokens = Table(
    "oauth_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("app_id", ForeignKey("connected_apps.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("used_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    _end(),
    CheckConstraint("kind IN ('access', 'refresh')", name="kind"),
)

TABLES = (oauth_clients, oauth_authorizations, connected_apps, oauth_tokens)
