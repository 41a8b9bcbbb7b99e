"""Callsheet: create-subject requests in, signed and ordered news of them out."""
