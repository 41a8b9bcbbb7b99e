"""Event feed: a caller asks for events after a cursor.

In come GET requests; out go pages, long polls, and streams (SSE) that resume after Last-Event-ID.
It keeps its part of promise 6 of service/README.md: no event is left out, and a subject's events
come in order.
"""
