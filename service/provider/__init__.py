"""The provider's language: its client, error codes, shapes of tasks, and sign-in (API key or JWT).

In: requests to create or look up a task, and JSON of tasks. Out: outcomes and task reports as
values. Keeps promise 2 of service/README.md: an unknown outcome is told apart from a failure.
"""
