"""Recipes: TOML files that name a method, a space, data and their settings, with cost and expected result."""
