"""Intake: create-subject requests over HTTP or from the job queue become queued subjects.

In comes an account's JSON, with its idempotency key; out goes a subject, or every broken rule.
Keeps promise 1 of service/README.md: a 202 is durable.
"""
