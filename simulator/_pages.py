"""The pages a browser sees: the landing page, E*TRADE's question whether a program may in, and its error pages."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from simulator._wire import Reply, page

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#1b1b1f;background:#f5f4f8}
.banner{background:#7a1fa2;color:#fff;text-align:center;font-weight:700;letter-spacing:.12em;padding:.7rem}
main{max-width:44rem;margin:2rem auto;background:#fff;padding:1.5rem 2rem;border-radius:12px}
code,input{font:600 1em ui-monospace,monospace}
input.code{font-size:2rem;letter-spacing:.2em;width:9em;text-align:center;padding:.4rem}
button{font-size:1.1rem;padding:.7rem 2rem;border:0;border-radius:8px;background:#5b2a86;color:#fff;cursor:pointer}
table{border-collapse:collapse}td,th{text-align:left;padding:.2rem 1rem .2rem 0}
@media (prefers-color-scheme:dark){body{background:#17161b;color:#eee}main{background:#232129}}
"""


def _dressed(title: str, inside: str, status: int = 200) -> Reply:
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f'<body><div class="banner" role="note">SIMULATOR &ndash; this is not E*TRADE, no money moves</div>'
        f"<main><h1>{escape(title)}</h1>{inside}</main></body></html>"
    )
    return page(body, status)


def ask(key: str, token: str) -> Reply:
    """May this program in?"""
    inside = (
        "<p>A program asks to read the simulated accounts and to trade in them until midnight in New York.</p>"
        '<form method="post" action="/e/t/etws/authorize">'
        f'<input type="hidden" name="key" value="{escape(key)}">'
        f'<input type="hidden" name="token" value="{escape(token)}">'
        '<button id="accept" type="submit">Accept</button></form>'
    )
    return _dressed("Let the program in?", inside)


def code(verifier: str) -> Reply:
    """The code to copy."""
    inside = (
        '<p><label for="verifier">Copy this code into the program. It is good for five minutes.</label></p>'
        f'<p><input class="code" id="verifier" type="text" value="{escape(verifier)}" readonly autofocus></p>'
    )
    return _dressed("Your code", inside)


def refused(problem: str) -> Reply:
    words = {
        "token_expired": "This link is older than five minutes: ask the program for a new one.",
        "token_rejected": "Nobody asked for this sign-in: open the link exactly as the program shows it.",
    }.get(problem, problem)
    return _dressed("This link does not work", f"<p>{escape(words)}</p>", 401)


def tomcat(status: int, message: str) -> Reply:
    """What /oauth answers when it refuses: a server's error page."""
    words = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}.get(status, "Error")
    body = (
        "<html><head><title>Error report</title></head><body>"
        f"<h1>HTTP Status {status} - {words}</h1><p><b>Type</b> Status Report</p>"
        f"<p><b>Message</b> {escape(message)}</p></body></html>"
    )
    return page(body, status)


def landing(now: str, market: str, base: str, key: str, secret: str, tokens: Iterable[tuple[str, str, str]]) -> Reply:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(state)}</td><td>{escape(until)}</td></tr>"
        for name, state, until in tokens
    )
    table = f"<table><tr><th>token</th><th>state</th><th>dies</th></tr>{rows}</table>" if rows else "<p>None yet.</p>"
    inside = (
        "<p>A server on this computer that answers as E*TRADE does. Its prices are made up, its accounts are a demo, "
        "and nothing it says has anything to do with the real company.</p>"
        f"<h2>Now</h2><p>{escape(now)} New York &middot; market {escape(market)}</p>"
        "<h2>Point a program here</h2><table>"
        f"<tr><td>address</td><td><code>{escape(base)}</code></td></tr>"
        f'<tr><td>consumer key</td><td><code id="key">{escape(key)}</code></td></tr>'
        f'<tr><td>consumer secret</td><td><code id="secret">{escape(secret)}</code></td></tr></table>'
        f"<h2>Programs signed in</h2>{table}"
        "<p>Clock, prices and failures are moved under <code>/simulator</code>: see docs/simulator.md.</p>"
    )
    return _dressed("E*TRADE simulator", inside)
