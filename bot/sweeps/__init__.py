"""One module for each sweep: what finds again that which got lost. `scheduler` runs them."""
