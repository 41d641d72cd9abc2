"""How models are made: tables, hyper-parameters, recipes."""
