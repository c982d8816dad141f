"""The market module: quotes and look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from etrade import market
from etrade.asking import Asker, symbol_word, together
from etrade.calls import Call
from etrade.errors import RequestWrong, Unreadable
from etrade.limits import Module
from etrade.market import INVALID_SYMBOL, Detail, Found, Quotes, QuotesPage

QUOTES_A_CALL, QUOTES_A_WIDE_CALL = 25, 50
_INVALID_SYMBOL = frozenset({INVALID_SYMBOL, 1019})
_NO_SUCH_NAME = frozenset({10033, 10034, 10035, 10043})


class MarketCalls(Asker):
    async def quotes(
        self, symbols: Sequence[str], *, detail: Detail = Detail.ALL, wide: bool = False, earnings: bool = False
    ) -> Quotes:
        """Any number of symbols, 25 a call, or 50 where `wide`. An unknown one is named in the answer, no error.
        RequestWrong where one is no symbol at all."""
        wanted = list(dict.fromkeys(symbol_word(symbol) for symbol in symbols))
        step = QUOTES_A_WIDE_CALL if wide else QUOTES_A_CALL
        parts = [wanted[at : at + step] for at in range(0, len(wanted), step)]
        pages = await together([self._quotes(part, detail, wide=wide, earnings=earnings) for part in parts])
        by_symbol = {quote.product.key.upper(): quote for page in pages for quote in page.quotes}
        remarks = tuple(text for page in pages for _, text in page.remarks)
        return Quotes(by_symbol, tuple(symbol for symbol in wanted if symbol not in by_symbol), remarks)

    async def _quotes(self, symbols: list[str], detail: Detail, *, wide: bool, earnings: bool) -> QuotesPage:
        path = ",".join(quote(symbol, safe=":") for symbol in symbols)
        query = [("detailFlag", detail.value), ("skipMiniOptionsCheck", "true")]
        query += [("overrideSymbolCount", "true")] if wide else []
        query += [("requireEarningsDate", "true")] if earnings else []
        call = Call("quotes", Module.MARKET, f"/market/quote/{path}.json", query=tuple(query))
        try:
            page = await self._ask(call, "QuoteResponse", market.read_quotes)
            if not page.quotes and sum(code == INVALID_SYMBOL for code, _ in page.remarks) < len(symbols):
                raise Unreadable("the answer to quotes cannot be used", ["QuoteData is missing"])
            return page
        except RequestWrong as error:
            if error.code not in _INVALID_SYMBOL:
                raise
        if len(symbols) == 1:
            return QuotesPage((), ((INVALID_SYMBOL, f"{symbols[0]} is an invalid symbol"),))
        half = len(symbols) // 2
        few = [self._quotes(part, detail, wide=wide, earnings=earnings) for part in (symbols[:half], symbols[half:])]
        one, other = await together(few)
        return QuotesPage(one.quotes + other.quotes, one.remarks + other.remarks)

    async def look_up(self, text: str) -> tuple[Found, ...]:
        """About ten instruments whose company's name has `text` in it."""
        words = text.strip()[:60]
        if not words:
            return ()
        call = Call("the look-up", Module.MARKET, f"/market/lookup/{quote(words, safe='')}.json")
        try:
            return await self._ask_or(call, "LookupResponse", market.read_found, ())
        except RequestWrong as error:
            if error.code in _NO_SUCH_NAME:
                return ()
            raise
