"""Numbers of things in words."""


def plural(n: int, thing: str, things: str = "") -> str:
    """How many there are of a thing: 1 network, 2 networks, 1,000 classes."""
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"
