"""Encoders: a network's graph and a data set's images into vectors that a Gaussian process compares."""
