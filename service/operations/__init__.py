"""Operations: health checks, metrics, audit, pruning, encryption key rotation.

In come /healthz, /readyz, /metrics, commands and sweeps; out go findings, and old rows deleted or
encrypted anew. The audit looks for breaches of the promises of service/README.md.
"""
