"""The registered methods: one line a method."""

from nas_suite.registry import Registry

METHODS = Registry(
    "method",
    {
        "mixpath": "nas_suite.methods.mixpath:MixPath",
        "spos": "nas_suite.methods.single_path:SPOS",
        "fairnas": "nas_suite.methods.single_path:FairNAS",
        "tfnas": "nas_suite.methods.tfnas:TFNAS",
    },
    "nas_suite.methods",
)
