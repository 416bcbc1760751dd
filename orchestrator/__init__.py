"""The saga orchestrator: a pure core (`saga`, `sagas`, `rules`) and the shell around it."""
