"""Redemption: a member's points are deducted, a partner gives their value."""
