"""The second kind of saga: what a member has, and what can be redeemed of it now."""
