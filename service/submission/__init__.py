"""Submission: queued subjects are sent to the provider, as many at once as it permits.

In comes a queued subject, claimed under a lease; out goes a signal that says what was answered.
Keeps promise 2 of service/README.md: nothing is knowingly submitted twice.
"""
