"""Delivery of events to subscribers: webhooks (Standard Webhooks), NATS JetStream, Redis streams.

In come pending rows of `deliveries`, which subjects and replays write; out go signed messages, and
a record of each attempt. Promises 6, 7 and 10 of service/README.md are kept here.
"""
