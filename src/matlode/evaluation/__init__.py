"""How good the models are: held-out scores, cross-validation, the page of them."""
