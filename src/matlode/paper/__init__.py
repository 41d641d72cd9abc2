"""Reproduction of Korolev et al. 2020: hyper-parameter search, tables and figures."""
