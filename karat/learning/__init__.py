"""How values are learnt: nets, families, and the models that join them."""
