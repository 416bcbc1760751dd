"""What may be redeemed, by whom, for how much: programmes and participants as data."""
