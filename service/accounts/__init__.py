"""Accounts: who calls, with which API key, scopes and rate limit.

In comes an `Authorization` header, out goes a `Caller`; the command line makes and revokes keys.
Keeps promise 11 of service/README.md: no account sees or moves what is another's.
"""
