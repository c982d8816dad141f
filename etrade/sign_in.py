"""Signing in and staying so: the link, the code, renewals, and a token taken over from `.env`."""

from __future__ import annotations

import re
from urllib.parse import quote

from etrade import replies
from etrade.account_calls import accounts_call
from etrade.asking import Asker
from etrade.errors import SignInAgain
from etrade.signing import Pair
from etrade.tokens import NOT_THE_TOKEN, RequestToken, SignIn, explain, fingerprint

_CODE = re.compile(r"[A-Za-z0-9]{4,32}", re.ASCII)


class SignInCalls(Asker):
    def sign_in(self) -> SignIn:
        """How the sign-in stands, without asking E*TRADE."""
        return self._keeper.sign_in()

    async def request_token(self) -> RequestToken:
        """The first half of a sign-in. KeyRefused, Unavailable."""
        now = self.clock.now()
        pair = await self._caller.token_pair("the sign-in link", "/request_token", None, tries=3, callback="oob")
        return RequestToken(pair, now)

    def authorize_url(self, asked: RequestToken) -> str:
        """The page a person opens; it shows the code. It carries the token: show it to that person only."""
        key, token = (quote(word, safe="") for word in (self._keys.key, asked.pair.token))
        return f"{self.environment.authorize}?key={key}&token={token}"

    async def access_token(self, asked: RequestToken, code: str) -> SignIn:
        """The second half; the token is kept, encrypted. SignInAgain where the code is wrong or came too late."""
        code = code.strip()
        if not _CODE.fullmatch(code):
            raise SignInAgain("that is no code: it has five to seven letters and digits, such as WX8Y2")
        if asked.expired(self.clock.now()):
            raise SignInAgain("the link is good for five minutes: open a new one and paste its code")
        # A code is good for one call: after a lost answer only a new link helps.
        pair = await self._caller.token_pair("the sign-in", "/access_token", asked.pair, tries=1, verifier=code)
        self._keeper.take(pair)
        return self.sign_in()

    async def renew(self) -> SignIn:
        """Wake the token, whether it sleeps or not, and verify that it is awake."""
        await self._caller.renew()
        return self.sign_in()

    async def keep_awake(self) -> SignIn:
        """Renew where 90 minutes went by without a call; call it every few minutes. Nothing is raised where nobody is
        signed in. Unavailable."""
        if self.sign_in().usable:
            await self._caller.wake()
        return self.sign_in()

    async def revoke(self) -> SignIn:
        """End the sign-in, at E*TRADE too. It is over here even where E*TRADE could not be told (Unavailable)."""
        token = self._keeper.need()
        self._keeper.refuse(token, "token_revoked")
        try:
            await self._caller.revoke(token)
        except replies.Unauthorized as error:
            if error.may_sleep or error.problem == "token_revoked":
                return self.sign_in()
            raise SignInAgain(str(explain(error.problem)), problem=error.problem, trace=error.trace) from None
        return self.sign_in()

    async def take_over(self, token: str, secret: str) -> SignIn:
        """A token from `.env`, once: verified by one call and moved to the store; a live one there goes first.
        Unavailable where it could not be verified, then it is tried again another time."""
        mark, kept = fingerprint(token, secret), self._keeper.token
        if not (token and secret) or (kept and kept.taken_over == mark) or self.sign_in().usable:
            return self.sign_in()
        pair = Pair(token, secret)
        try:
            await self._caller.verify(accounts_call(), pair)
        except replies.Unauthorized as error:
            if error.problem in NOT_THE_TOKEN:
                raise SignInAgain(str(explain(error.problem)), problem=error.problem, trace=error.trace) from None
            self._keeper.refuse(self._keeper.take(pair, taken_over=mark), error.problem)
        else:
            self._keeper.take(pair, taken_over=mark)
        return self.sign_in()
