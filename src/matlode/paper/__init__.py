"""Korolev et al. 2020 again: hyper-parameter search, tables and figures."""
