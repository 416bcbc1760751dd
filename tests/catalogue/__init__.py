"""What may be redeemed: acceptance against oracles of its own, programmes and participants."""
