"""Surrogates: what a search believes about networks that it has not evaluated, and what it would gain by trying them."""
