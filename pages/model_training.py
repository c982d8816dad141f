"""Train a model on candles, see how far it can be believed, and choose which one is asked."""

from ui import dialogs, training_page
from ui.session import open_page

app = open_page("Model training")
dialogs.show(app)
training_page.show(app)
