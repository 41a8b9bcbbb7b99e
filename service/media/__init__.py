"""Media checks: the images and videos that a queued subject refers to are fetched and inspected.

In: queued subjects with media given by URL, or in Base64. Out: subjects that may be submitted, or
failed ones with the defect. Keeps promise 10 (SSRF) of service/README.md for callers' URLs.
"""
