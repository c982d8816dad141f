"""What a person does at E*TRADE's page: open the link, let the program in, copy the code."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request


def code_of(url: str) -> str:
    """The code the simulator shows to whoever accepts behind this link."""
    address, _, query = url.partition("?")
    form = urllib.parse.urlencode(urllib.parse.parse_qsl(query)).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(address, data=form), timeout=10) as answer:
        found = re.search(r'value="([A-Z0-9]{4,8})"', answer.read().decode())
    assert found, "the page shows a code"
    return found[1]
