"""The registered search spaces: one line a space."""

from nas_suite.registry import Registry

SPACES = Registry(
    "space",
    {
        "macro": "nas_suite.spaces.macro:Macro",
        "mixpath-s1": "nas_suite.spaces.mixpath_s1:MixPathS1",
        "mixpath-s2": "nas_suite.spaces.mixpath_s2:MixPathS2",
        "mixpath-s3": "nas_suite.spaces.mixpath_s3:MixPathS3",
        "mixpath-s4": "nas_suite.spaces.mixpath_s4:MixPathS4",
        "mobilenetv3": "nas_suite.spaces.mobilenetv3:MobileNetV3",
        "nasbench101": "nas_suite.spaces.nasbench101:NasBench101",
        "nasbench201": "nas_suite.spaces.nasbench201:NasBench201",
        "tfnas": "nas_suite.spaces.tfnas:TFNAS",
    },
    "nas_suite.spaces",
)
