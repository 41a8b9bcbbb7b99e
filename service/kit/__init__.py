"""Tools that know no capability: errors, ids, validation, encryption at rest, the SSRF guard, the
connection pool, HTTP and concurrency."""
