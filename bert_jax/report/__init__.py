"""The report of a run: its page, figures, plots and the records behind them."""
