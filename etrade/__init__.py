"""The rooms behind `etrade_client`: signing, transport, limits, tokens, and the words of E*TRADE as our types.

Only `etrade_client` is meant to be imported from outside; foreign field names stop in here.
"""
