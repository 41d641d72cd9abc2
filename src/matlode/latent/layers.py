"""What the paper's networks are varied in: activations and first weights, by Keras' names."""

from __future__ import annotations

from torch import nn

from matlode.errors import GoalError, suggest

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "tanh": nn.Tanh,
}
"""name → layer."""

INITIALIZERS = ("lecun_normal", "he_normal", "he_uniform")
"""How first weights may be drawn: with a variance of 1 (lecun) or 2 (he) over the inputs."""


def activation_layer(name: str) -> nn.Module:
    """A new layer of ACTIVATIONS; raises GoalError for an unknown name."""
    if name not in ACTIVATIONS:
        raise GoalError(f'"{name}" is no activation. {suggest(name, ACTIVATIONS)}')
    return ACTIVATIONS[name]()


def initialise(model: nn.Module, scheme: str) -> None:
    """Draw the kernels of dense and convolutional layers anew, biases zero.

    Raises GoalError for a scheme that is none of INITIALIZERS.
    """
    if scheme not in INITIALIZERS:
        raise GoalError(f'"{scheme}" is no initializer. {suggest(scheme, INITIALIZERS)}')
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            fan_in = layer.weight[0].numel()
            variance = (1.0 if scheme == "lecun_normal" else 2.0) / fan_in
            if scheme == "he_uniform":
                limit = (3 * variance) ** 0.5
                nn.init.uniform_(layer.weight, -limit, limit)
            else:
                nn.init.trunc_normal_(layer.weight, std=variance**0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
