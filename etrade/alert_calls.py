"""E*TRADE's alerts: read them, delete them."""

from __future__ import annotations

from collections.abc import Iterable

from etrade import alerts
from etrade.alerts import Alert, AlertDetails, Deleted
from etrade.asking import Asker
from etrade.calls import Call
from etrade.limits import Module

ALERTS_AT_MOST = 300


class AlertCalls(Asker):
    async def alerts(self) -> tuple[Alert, ...]:
        """Up to 300, newest first."""
        call = Call("the alerts", Module.ALERTS, "/user/alerts.json", query=(("count", str(ALERTS_AT_MOST)),))
        return await self._ask_or(call, "AlertsResponse", alerts.read_alerts, ())

    async def alert(self, alert_id: int) -> AlertDetails | None:
        """One alert with its text; None where there is none of that number."""
        call = Call("the alert", Module.ALERTS, f"/user/alerts/{int(alert_id)}.json", query=(("htmlTags", "false"),))
        nothing: AlertDetails | None = None
        return await self._ask_or(call, "AlertDetailsResponse", alerts.read_alert, nothing)

    async def delete_alerts(self, alert_ids: Iterable[int]) -> Deleted:
        """Delete them; the answer names those that could not be."""
        ids = ",".join(str(int(number)) for number in alert_ids)
        if not ids:
            return Deleted(())
        call = Call("the deletion of alerts", Module.ALERTS, f"/user/alerts/{ids}.json", method="DELETE", tries=1)
        return await self._ask(call, "AlertsResponse", alerts.read_deleted)
