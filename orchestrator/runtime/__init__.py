"""The one loop and what runs beside it in a coordinator process."""
