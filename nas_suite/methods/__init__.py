"""The registered methods: one line a method."""

from nas_suite.registry import Registry

SEARCHERS = (
    "tnas", "random", "evolution", "local-search", "gp-ei", "gp-ucb", "bananas", "nasbowl", "hebo", "metad2a",
)  # fmt: skip
"""Methods that train networks one by one, as `rivals` knows them."""

METHODS = Registry(
    "method",
    {
        "mixpath": "nas_suite.methods.mixpath:MixPath",
        "spos": "nas_suite.methods.single_path:SPOS",
        "fairnas": "nas_suite.methods.single_path:FairNAS",
        "tfnas": "nas_suite.methods.tfnas:TFNAS",
        **dict.fromkeys(SEARCHERS, "nas_suite.methods.direct:Direct"),
    },
    "nas_suite.methods",
)
