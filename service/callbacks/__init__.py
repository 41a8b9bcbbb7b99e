"""Callbacks: what the provider posts is verified, deduplicated, stored raw, and applied.

In comes a POST to /callbacks; out goes a verdict, and perhaps a transition of its subject.
Keeps promises 3, 4 and 9 of service/README.md: 200 only once it is durable; a state never goes
back; webhook secrets rotate with no rejected callback.
"""
