"""Kill -9, freeze, repeat: what the platform believes stays what the companies know."""
