"""Operations: health checks, audit, pruning, encryption key rotation.

In come /healthz, /readyz, two commands and a sweep; out go findings, and old rows deleted or
encrypted anew. The audit looks for breaches of promises 1, 4 and 6 of service/README.md.
"""
