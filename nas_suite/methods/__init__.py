"""The registered methods: one line a method."""

from nas_suite.registry import Registry

SEARCHERS = ("tnas", "random", "evolution")
"""Methods that train networks one by one and learn from nothing but how these did."""

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
