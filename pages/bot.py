"""What the strategies at work do, and why."""

from ui import bot_page
from ui.session import open_page

app = open_page("Bot")
bot_page.page(app)
