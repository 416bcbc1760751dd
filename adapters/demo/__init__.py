"""The demo: real requests on real servers, watched from the topics, compared with expectations."""
