"""Balance inquiries: a member's points and what can be redeemed now; nothing is moved or held."""
