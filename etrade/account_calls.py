"""The accounts module: accounts, balances, positions, lots, transactions."""

from __future__ import annotations

from datetime import date

from domain.errors import SettingsError
from etrade import accounts
from etrade.accounts import Account, Balance, Lot, PortfolioPage, Position, Transaction, TransactionsPage
from etrade.asking import MOST_PAGES, Asker, days_word, path_word, through_pages
from etrade.calls import Call
from etrade.errors import Unreadable, masked
from etrade.limits import Module

TRANSACTIONS_A_PAGE, POSITIONS_A_PAGE = 50, 50


class AccountCalls(Asker):
    async def accounts(self) -> tuple[Account, ...]:
        """Every account, closed ones too. None at all is an empty tuple."""
        return await self._ask_or(accounts_call(), "AccountListResponse", accounts.read_accounts, ())

    async def account(self, number: str = "") -> Account:
        """The account with this number, or the only usable one. SettingsError names those there are, masked."""
        usable = [account for account in await self.accounts() if account.usable]
        found = [account for account in usable if account.number == number] if number else usable
        if len(found) == 1:
            return found[0]
        there_are = ", ".join(account.masked for account in usable) or "none"
        asked = (
            f"no open brokerage account is {masked(number)}" if number else "which account is to be used is not said"
        )
        raise SettingsError(f"ETRADE_ACCOUNT_ID: {asked}; there are: {there_are}")

    async def balance(self, account_key: str) -> Balance:
        query = (("instType", "BROKERAGE"), ("realTimeNAV", "true"))
        call = Call("the balance", Module.ACCOUNTS, f"/accounts/{path_word(account_key)}/balance.json", query=query)
        return await self._ask(call, "BalanceResponse", accounts.read_balance)

    async def portfolio(self, account_key: str, *, lots: bool = False) -> tuple[Position, ...]:
        """Every position, all pages, with its lots where asked (slow)."""
        found: dict[int, Position] = {}
        for number in range(1, MOST_PAGES + 1):
            query = [("count", str(POSITIONS_A_PAGE)), ("pageNumber", str(number)), ("view", "QUICK")]
            query += [("lotsRequired", "true")] if lots else []
            call = Call(
                "the positions",
                Module.ACCOUNTS,
                f"/accounts/{path_word(account_key)}/portfolio.json",
                query=tuple(query),
            )
            page = await self._ask_or(call, "PortfolioResponse", accounts.read_portfolio, PortfolioPage((), number))
            found |= {position.id: position for position in page.positions}
            if page.pages <= number:
                return tuple(found.values())
        raise Unreadable("the positions cannot be used", [f"more than {MOST_PAGES} pages"])

    async def lots(self, account_key: str, position: int) -> tuple[Lot, ...]:
        path = f"/accounts/{path_word(account_key)}/portfolio/{int(position)}.json"
        return await self._ask_or(
            Call("the lots", Module.ACCOUNTS, path), "PositionLotsResponse", accounts.read_lots, ()
        )

    async def transactions(
        self, account_key: str, *, start: date | None = None, end: date | None = None
    ) -> tuple[Transaction, ...]:
        """Newest first, all pages; days are New York's, both included."""
        path = f"/accounts/{path_word(account_key)}/transactions.json"
        query = (*days_word("startDate", start), *days_word("endDate", end), ("count", str(TRANSACTIONS_A_PAGE)))
        found: dict[str, Transaction] = {}

        async def page(marker: str) -> str:
            more = (*query, ("marker", marker)) if marker else query
            call = Call("the transactions", Module.ACCOUNTS, path, query=more)
            got = await self._ask_or(
                call, "TransactionListResponse", accounts.read_transactions, TransactionsPage((), "")
            )
            # The last row of a page is the first of the next; a page with nothing new is the end.
            new = {row.id: row for row in got.transactions if row.id not in found}
            found.update(new)
            return got.marker if new else ""

        await through_pages("the transactions", page)
        return tuple(found.values())

    async def transaction(self, account_key: str, transaction: str) -> Transaction:
        path = f"/accounts/{path_word(account_key)}/transactions/{path_word(transaction)}.json"
        call = Call("the transaction", Module.ACCOUNTS, path, query=(("storeId", "0"),))
        return await self._ask(call, "TransactionDetailsResponse", accounts.read_transaction)


def accounts_call() -> Call:
    return Call("the list of accounts", Module.ACCOUNTS, "/accounts/list.json")
