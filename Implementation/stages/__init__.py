"""One image in stages: predicted in strips, examined in windows, by helpers too, put together."""
