"""Accounts, and the API keys and key pairs of their callers."""

from sqlalchemy import BigInteger, Column, ForeignKey, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from service.schema.base import Id, Time, TransactionId, metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # When a subject of this account was last claimed: accounts take turns.
    Column("last_claimed_at", Time),
    Column("callback_url_secret", LargeBinary),  # encrypted; signs what goes to callback_urls
    Column("rate_used_until", Time),  # requests made so far use up the permitted rate until then
    # The last event, in the order of its feed, that was pruned; null: none.
    Column("pruned_xid", TransactionId),
    Column("pruned_position", BigInteger),
    Column("created_at", Time, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Id, ForeignKey("accounts.id"), nullable=False),
    # SHA-256 of the whole key; of a pair, of its access key.
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("secret", LargeBinary),  # of a pair: its secret key, encrypted
    Column("prefix", Text, nullable=False),  # its first characters, by which people recognise it
    Column("name", Text),  # whose or what it is for; null: nobody said
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("last_used_at", Time),
)
