"""Balance: what a member has, and what can be redeemed of it now. Nothing is moved or held."""
