"""The provider's own paths over our subjects, so that its existing clients only change a base URL.

In comes what such a client sends, out goes the provider's envelope with its error codes (rules P2
to P9). Promises are kept by `intake` and `status`, which do the work.
"""
