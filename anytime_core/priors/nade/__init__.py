"""Neural autoregressive distribution estimator: one hidden layer that sums up the codes so far."""
