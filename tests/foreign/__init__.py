"""A partner that knows nothing but the published contract."""
