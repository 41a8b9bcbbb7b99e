"""Subscribers: who is sent an account's events, where, and signed with which secrets.

In come requests to /v1/subscribers and callback_urls of requests; out go rows that delivery reads.
Keeps promises 9 and 10 of service/README.md: secret rotation without a rejected delivery, and no
URL accepted that must not be dialled.
"""
