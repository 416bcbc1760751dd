"""The demo: real requests on real servers, observed on the topics, compared with expectations."""
