"""Addresses of services and what is behind them."""
