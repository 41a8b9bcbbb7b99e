"""The HTTP API described as an OpenAPI document, and as a page for people.

In comes openapi.yaml, which is written by hand; out go /openapi.json and /docs. Tests hold the
document to what the service does (tests/contract).
"""
