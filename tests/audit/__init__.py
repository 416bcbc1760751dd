"""`uprp audit`: a database of many kinds of sagas, and what is broken in it on purpose."""
