"""A Binance-compatible USDⓈ-M Futures exchange for paper trading and tests, served on loopback."""
