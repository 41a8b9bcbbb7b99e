"""Status: a caller asks how its subjects are.

In come reads, lists, long polls and cancels; out goes each subject with its ETag, and its position
while it is queued. It keeps promise 11 of service/README.md: no account sees another's.
"""
