"""Accounts as E*TRADE tells them: list, balance, portfolio and lots."""

from __future__ import annotations

from datetime import datetime
from datetime import time as wall_time
from decimal import Decimal

from domain.calendars import NEW_YORK
from domain.clock import Clock
from domain.quotes import Quote
from simulator._market import Market
from simulator._money import Money, money
from simulator._state import ZERO, Account, Holding, Lot, State
from simulator._wire import Nothing, Refused, Tree, invalid, millis, number, seconds, whole

VIEWS = ("QUICK", "PERFORMANCE", "FUNDAMENTAL", "OPTIONSWATCH", "COMPLETE")
PRODUCT = {"expiryYear": 0, "expiryMonth": 0, "expiryDay": 0, "strikePrice": 0}


class Accounts:
    """Nothing here changes an account. `base` is the address that links begin with."""

    def __init__(self, state: State, market: Market, clock: Clock) -> None:
        self._state, self._market, self._clock = state, market, clock

    def find(self, key: str) -> Account:
        for account in self._state.accounts:
            if account.key == key:
                return account
        raise Refused(400, 102, "Please enter valid Account Key")

    def listed(self) -> Tree:
        rows = [
            {
                "accountId": account.account_id,
                "accountIdKey": account.key,
                "accountMode": account.mode,
                "accountDesc": account.description,
                "accountName": account.name,
                "accountType": account.kind,
                "institutionType": "BROKERAGE",
                "accountStatus": "ACTIVE",
                "closedDate": 0,
                "shareWorksAccount": False,
                "fcManagedMssbClosedAccount": False,
            }
            for account in self._state.accounts
        ]
        return {"AccountListResponse": {"Accounts": {"Account": rows}}}

    def money(self, account: Account) -> Money:
        return money(account, self._last, self._clock.now())

    # Balance

    def balance(self, account: Account, query: dict[str, str]) -> Tree:
        if query.get("insttype") != "BROKERAGE":
            raise Refused(400, 7002, "Please enter valid Institution Type")
        has = self.money(account)
        computed = self._margin_power(has) if account.margin else self._cash_power(has)
        if query.get("realtimenav", "").lower() == "true":
            computed["RealTimeValues"] = {
                "totalAccountValue": number(has.equity, 2),
                "netMv": number(has.market_value, 2),
                "netMvLong": number(has.long_value, 2),
                "netMvShort": number(has.short_value, 2),
            }
        modes = {"REALTIME": 0, "DELAYED": 1, "CLOSING": 2, "EH_REALTIME": 3, "EH_BEFORE_OPEN": 4, "EH_CLOSED": 5}
        return {
            "BalanceResponse": {
                "accountId": account.account_id,
                "accountType": "MARGIN" if account.margin else "CASH",
                "optionLevel": "NO_OPTIONS",
                "accountDescription": "SIMULATED CUSTOMER",
                "quoteMode": modes.get(self._market.status(), 6),
                "dayTraderStatus": "NO_PDT",
                "accountMode": account.mode,
                "Cash": {
                    "fundsForOpenOrdersCash": 0 if account.margin else number(has.reserved, 2),
                    "moneyMktBalance": number(max(has.cash, ZERO), 2),
                },
                "Computed": computed,
            }
        }

    def _cash_power(self, has: Money) -> Tree:
        settled, free = max(ZERO, has.settled - has.reserved), max(ZERO, has.cash - has.reserved)
        return {
            "cashAvailableForInvestment": number(free, 2),
            "cashAvailableForWithdrawal": number(settled, 2),
            "totalAvailableForWithdrawal": number(settled, 2),
            "netCash": number(has.cash, 2),
            "cashBalance": 0,
            "settledCashForInvestment": number(settled, 2),
            "unSettledCashForInvestment": number(has.unsettled, 2),
            "fundsWithheldFromPurchasePower": 0,
            "fundsWithheldFromWithdrawal": number(has.unsettled, 2),
            "cashBuyingPower": number(free, 2),
            "accountBalance": number(has.cash, 2),
            "OpenCalls": {"cashCall": 0},
        }

    def _margin_power(self, has: Money) -> Tree:
        free = max(ZERO, has.cash - has.reserved)
        percent = Decimal(100) if not has.long_value or has.cash >= 0 else has.equity / has.long_value * 100
        return {
            "cashAvailableForInvestment": number(free, 2),
            "cashAvailableForWithdrawal": number(max(ZERO, has.settled - has.reserved), 2),
            "totalAvailableForWithdrawal": number(max(ZERO, has.settled - has.reserved), 2),
            "netCash": number(has.cash, 2),
            "cashBalance": 0,
            "settledCashForInvestment": 0,
            "unSettledCashForInvestment": 0,
            "fundsWithheldFromPurchasePower": 0,
            "fundsWithheldFromWithdrawal": number(has.unsettled, 2),
            "marginBuyingPower": number(has.power, 2),
            "cashBuyingPower": number(has.power / 2, 2),
            "dtMarginBuyingPower": 0,
            "dtCashBuyingPower": 0,
            "marginBalance": number(min(has.cash, ZERO), 2),
            "shortAdjustBalance": 0,
            "regtEquity": number(has.equity, 2),
            "regtEquityPercent": number(percent, 2),
            "accountBalance": number(has.cash, 2),
            "OpenCalls": {"minEquityCall": 0, "fedCall": 0, "cashCall": 0, "houseCall": 0},
        }

    # Portfolio

    def portfolio(self, account: Account, query: dict[str, str], base: str) -> Tree:
        view = query.get("view", "QUICK").upper()
        count = whole(query.get("count", 50)) or 0
        wanted = whole(query.get("pagenumber", 1)) or 0
        if view not in VIEWS or not 1 <= count <= 50 or wanted < 1:
            raise invalid()
        held = self._sorted(account, query)
        pages = -(-len(held) // count)
        rows = held[(wanted - 1) * count : wanted * count]
        if not rows:
            raise Nothing
        lots = query.get("lotsrequired", "").lower() == "true"
        positions = [self._position(account, one, view, lots, base) for one in rows]
        portfolio: Tree = {"accountId": account.account_id, "Position": positions, "totalPages": pages}
        if wanted < pages:
            portfolio["next"] = f"{base}/v1/accounts/{account.key}/portfolio?pageNumber={wanted + 1}&count={count}"
            portfolio["nextPageNo"] = str(wanted + 1)
        tree: Tree = {}
        if query.get("totalsrequired", "").lower() == "true":
            tree["Totals"] = self._totals(account, held)
        return {"PortfolioResponse": {**tree, "AccountPortfolio": [portfolio]}}

    def lots(self, account: Account, position_id: int | None, base: str) -> Tree:
        for held in account.holdings.values():
            if held.position_id == position_id:
                return {"PositionLotsResponse": {"PositionLot": [self._lot(held, lot) for lot in held.lots]}}
        raise Nothing

    def _sorted(self, account: Account, query: dict[str, str]) -> list[Holding]:
        keys = {
            "SYMBOL": lambda held: held.symbol,
            "MARKET_VALUE": lambda held: held.quantity * self._price(held),
            "TOTAL_GAIN": lambda held: held.quantity * self._price(held) - held.cost,
            "QUANTITY": lambda held: held.quantity,
        }
        key = keys.get(query.get("sortby", "SYMBOL").upper(), keys["SYMBOL"])
        descending = query.get("sortorder", "DESC").upper() != "ASC"
        return sorted(account.holdings.values(), key=key, reverse=descending)

    def _position(self, account: Account, held: Holding, view: str, lots: bool, base: str) -> Tree:
        price, before = self._price(held), self._before(held)
        value, cost, equity = held.quantity * price, held.cost, self.money(account).equity
        today = self._today(held)
        gain, day_gain = value - cost, self._day_gain(held)
        paid = cost / held.quantity
        path = f"{base}/v1/accounts/{account.key}/portfolio/{held.position_id}"
        row: Tree = {
            "positionId": held.position_id,
            "symbolDescription": held.symbol,
            "dateAcquired": millis(midnight(held.lots[0].acquired)),
            "pricePaid": number(paid),
            "commissions": 0,
            "otherFees": 0,
            "quantity": number(held.quantity),
            "positionIndicator": "TYPE5" if held.quantity < 0 else "TYPE2" if account.margin else "TYPE1",
            "positionType": "SHORT" if held.quantity < 0 else "LONG",
            "daysGain": number(day_gain, 2),
            "daysGainPct": number(_percent(day_gain, abs(value - day_gain))),
            "marketValue": number(value, 2),
            "totalCost": number(cost, 2),
            "totalGain": number(gain, 2),
            "totalGainPct": number(_percent(gain, abs(cost))),
            "pctOfPortfolio": number(_percent(value, equity)),
            "costPerShare": number(paid),
            "todayCommissions": 0,
            "todayFees": 0,
            "todayPricePaid": number(_average(today)),
            "todayQuantity": number(sum((lot.remaining for lot in today), ZERO)),
            "adjPrevClose": number(before),
            "lotsDetails": path,
            "quoteDetails": f"{base}/v1/market/quote/{held.symbol}",
            "Product": {
                "symbol": held.symbol,
                "securityType": "EQ",
                **PRODUCT,
                "productId": {"symbol": held.symbol, "typeCode": "EQUITY"},
            },
        }
        row[_VIEW_NAMES.get(view, view.title())] = self._view(held, row, view)
        if lots:
            row["positionLot"] = [self._lot(held, lot) for lot in held.lots]
        return row

    def _view(self, held: Holding, row: Tree, view: str) -> Tree:
        quote, price, before = self._market.newest(held.symbol), self._price(held), self._before(held)
        common: Tree = {
            "lastTrade": number(price),
            "lastTradeTime": seconds(quote.time if quote else self._clock.now()),
            "change": number(price - before),
            "changePct": number(_percent(price - before, before)),
            "quoteStatus": self._market.status(),
        }
        volume = int(quote.volume) if quote else 0
        if view == "QUICK":
            return {**common, "volume": volume}
        if view == "PERFORMANCE":
            kept = ("daysGain", "totalGain", "totalGainPct", "marketValue")
            return {**common, **{name: row[name] for name in kept}}
        if view == "FUNDAMENTAL":
            zeros = ("peRatio", "eps", "dividend", "divYield", "marketCap")
            return {**common, **dict.fromkeys(zeros, 0), "week52Range": ""}
        bid, ask = (quote.bid, quote.ask) if quote else (None, None)
        book: Tree = {"bid": number(bid or price), "ask": number(ask or price)}
        if view == "OPTIONSWATCH":
            return {"baseSymbolAndPrice": f"{held.symbol} {number(price)}", "premium": 0, **common, **book}
        return {**common, **book, "price": number(price), "prevClose": number(before), "volume": volume}

    def _totals(self, account: Account, held: list[Holding]) -> Tree:
        value = sum((one.quantity * self._price(one) for one in held), ZERO)
        cost = sum((one.cost for one in held), ZERO)
        today = sum((self._day_gain(one) for one in held), ZERO)
        return {
            "todaysGainLoss": number(today, 2),
            "todaysGainLossPct": number(_percent(today, abs(value - today))),
            "totalMarketValue": number(value, 2),
            "totalGainLoss": number(value - cost, 2),
            "totalGainLossPct": number(_percent(value - cost, abs(cost))),
            "totalPricePaid": number(cost, 2),
            "cashBalance": number(account.cash, 2),
        }

    def _lot(self, held: Holding, lot: Lot) -> Tree:
        value, cost = lot.remaining * self._price(held), lot.remaining * lot.price
        base = lot.price if lot in self._today(held) else self._before(held)
        today = lot.remaining * (self._price(held) - base)
        return {
            "positionId": held.position_id,
            "positionLotId": lot.lot_id,
            "price": number(lot.price),
            "termCode": 0,
            "daysGain": number(today, 2),
            "daysGainPct": number(_percent(today, abs(lot.remaining * base))),
            "marketValue": number(value, 2),
            "totalCost": number(cost, 2),
            "totalCostForGainPct": number(cost, 2),
            "totalGain": number(value - cost, 2),
            "lotSourceCode": 1,
            "originalQty": number(lot.original),
            "remainingQty": number(lot.remaining),
            "availableQty": number(lot.remaining),
            "orderNo": lot.order_id,
            "legNo": 1,
            "acquiredDate": millis(midnight(lot.acquired)),
            "locationCode": 0,
            "exchangeRate": 1,
            "settlementCurrency": "USD",
            "paymentCurrency": "USD",
            "adjPrice": 0,
            "commPerShare": 0,
            "feesPerShare": 0,
            "premiumAdj": 0,
            "shortType": 0,
        }

    def _today(self, held: Holding) -> list[Lot]:
        today = midnight(self._clock.now())
        return [lot for lot in held.lots if lot.acquired >= today]

    def _day_gain(self, held: Holding) -> Decimal:
        """Since yesterday's close; what was bought today since its own price."""
        bought, price, before = self._today(held), self._price(held), self._before(held)
        return sum((lot.remaining * (price - (lot.price if lot in bought else before)) for lot in held.lots), ZERO)

    def _last(self, symbol: str) -> Decimal | None:
        quote = self._market.newest(symbol)
        return None if quote is None else quote.last

    def _price(self, held: Holding) -> Decimal:
        return self._last(held.symbol) or held.cost / held.quantity

    def _before(self, held: Holding) -> Decimal:
        quote: Quote | None = self._market.newest(held.symbol)
        return (quote.previous_close if quote else None) or self._price(held)


_VIEW_NAMES = {"OPTIONSWATCH": "OptionsWatch"}


def midnight(moment: datetime) -> datetime:
    return datetime.combine(moment.astimezone(NEW_YORK).date(), wall_time(), NEW_YORK)


def _percent(part: Decimal, of: Decimal) -> Decimal:
    return part / of * 100 if of else ZERO


def _average(lots: list[Lot]) -> Decimal:
    shares = sum((lot.remaining for lot in lots), ZERO)
    return sum((lot.remaining * lot.price for lot in lots), ZERO) / shares if shares else ZERO
