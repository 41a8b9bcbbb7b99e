"""Reconciliation: polling for what was not called back, expired leases, deadlines.

In come subjects whose time is up; out go signals that move them on.
Keeps promise 5 of service/README.md: with every callback lost, every subject reaches its end.
"""
