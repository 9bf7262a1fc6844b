"""What traced programs consist of, and 64 bits for them."""

import jax
from jax import experimental

# jax 0.6 has it as an experiment.
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else experimental.enable_x64


def scans_of(jaxpr):
    """Length and direction of every scan, at any depth."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            found.append((equation.params["length"], equation.params["reverse"]))
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += scans_of(inner)
    return found
