"""Messages of other services, read as signals. Pure: bytes, settings and a time in, a signal body out.

    tradingview   JSON of strategy placeholders         traderspost   TradersPost-style JSON
    pickmytrade   PickMyTrade-style JSON                crosstrade    CrossTrade-style key=value; text
    line          one line: long NQ q=2 sl=40           kopitra       our own signal body
    template      the hook's own template (template.py)

A preset takes what a sender of that service sends today, so that its user changes only the address. What
names accounts, tokens or other workspaces is left unread (S-11); what would restrict trading and cannot be
honoured is refused, never ignored.
"""
