"""What a strategy would have done on past candles, and how far that can be believed."""

from ui import backtest_page, dialogs
from ui.session import open_page

app = open_page("Backtest")
dialogs.show(app)
backtest_page.show(app)
