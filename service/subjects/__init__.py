"""Subjects: the state machine, the transitions that are written, and how callers see a subject.

In comes a signal about a subject; out goes its new state, with an event and its deliveries.
Keeps promise 4 of service/README.md: a state never goes back.
"""
