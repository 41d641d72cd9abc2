"""Every model that `matlode train` makes, in one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from matlode.latent.networks import (
    ReferenceCompositionVAE,
    ReferencePatternVAE,
    StandardCompositionVAE,
    StandardPatternVAE,
)
from matlode.latent.pairing import PAIRING_MODEL, PairingNet
from matlode.latent.training import TrainingSettings
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.expected_volume import VOLUME_MODEL
from matlode.properties.formation_net import FORMATION_NET, ReferenceFormationNet
from matlode.properties.models import head_name
from matlode.properties.network import NETWORK_MODEL
from matlode.properties.trees import SETTINGS
from matlode.properties.volume_net import VolumeNet
from matlode.records import Face
from matlode.screening.formula_lists import FORMULA_LISTS
from matlode.screening.plausibility import PLAUSIBILITY_MODEL
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL, SYMMETRY_MODEL
from matlode.screening.symmetry_nets import ReferenceSymmetryNet, SymmetryNet
from matlode.training.formula_lists import train_lists
from matlode.training.model_spec import ModelSpec
from matlode.training.property_recipes import (
    build_formation_tensors,
    train_formation_net,
    train_head,
    train_properties,
)
from matlode.training.recipes import (
    build_formula_tensors,
    build_pattern_tensors,
    build_symmetry_tensors,
    train_bands,
    train_composition_vae,
    train_pairing,
    train_pattern_vae,
    train_symmetry,
)
from matlode.training.volume_recipe import train_volume


def build_head_spec(endpoint: Endpoint, face: Face) -> ModelSpec:
    """Boosted trees of one property, one of matlode's or a user's own."""
    return ModelSpec(
        name=head_name(endpoint.name, face),
        kind="head",
        face=face,
        train=train_head,
        endpoint=endpoint,
        settings=SETTINGS[face],
    )


MODELS: Mapping[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="standard-composition-vae",
            kind="autoencoder",
            face="standard",
            view="composition",
            train=train_composition_vae,
            network=StandardCompositionVAE,
            has_sizes=True,
            settings=TrainingSettings(
                learning_rate=2e-3, max_epochs=60, batch_size=256, patience=60, warm_up_epochs=2.0
            ),
            tensors=build_formula_tensors,
        ),
        ModelSpec(
            name="standard-pattern-vae",
            kind="autoencoder",
            face="standard",
            view="pattern",
            train=train_pattern_vae,
            network=StandardPatternVAE,
            has_sizes=True,
            settings=TrainingSettings(learning_rate=1.5e-3, max_epochs=48, patience=48),
            tensors=build_pattern_tensors,
        ),
        ModelSpec(
            name=PAIRING_MODEL,
            kind="pairing",
            face="standard",
            train=train_pairing,
            network=PairingNet,
            settings=TrainingSettings(batch_size=256, max_epochs=30, patience=30),
        ),
        ModelSpec(
            name=VOLUME_MODEL,
            kind="volume",
            face="standard",
            train=train_volume,
            network=VolumeNet,
            has_sizes=True,
            settings=TrainingSettings(
                learning_rate=3e-3, max_epochs=30, patience=30, batch_size=256
            ),
        ),
        ModelSpec(
            name=NETWORK_MODEL,
            kind="properties",
            face="standard",
            train=train_properties,
            settings=TrainingSettings(
                learning_rate=1.2e-3, batch_size=256, max_epochs=10, patience=10
            ),
        ),
        ModelSpec(
            name=SYMMETRY_MODEL,
            kind="symmetry",
            face="standard",
            train=train_symmetry,
            network=SymmetryNet,
            has_sizes=True,
            settings=TrainingSettings(max_epochs=20, patience=20, batch_size=256),
            tensors=build_symmetry_tensors,
        ),
        ModelSpec(name=PLAUSIBILITY_MODEL, kind="bands", face="standard", train=train_bands),
        ModelSpec(name=FORMULA_LISTS, kind="formula-lists", face="standard", train=train_lists),
        # Table S1; not in it: batch size, epochs, and the learning rate, here Keras 2.3's default
        ModelSpec(
            name="reference-composition-vae",
            kind="autoencoder",
            face="reference",
            view="composition",
            train=train_composition_vae,
            network=ReferenceCompositionVAE,
            has_sizes=True,
            settings=TrainingSettings(
                optimizer="nadam", learning_rate=2e-3, batch_size=128, max_epochs=200,
                patience=200, warm_up_epochs=0.0, l1=1.94e-7, l2=1.09e-6,
            ),
            tensors=build_formula_tensors,
        ),
        ModelSpec(
            name="reference-pattern-vae",
            kind="autoencoder",
            face="reference",
            view="pattern",
            train=train_pattern_vae,
            network=ReferencePatternVAE,
            has_sizes=True,
            settings=TrainingSettings(
                optimizer="adamax", learning_rate=2e-3, batch_size=128, max_epochs=24,
                patience=24, warm_up_epochs=0.0, l1=1.46e-6, l2=6.42e-7, precision="bfloat16",
            ),
            tensors=build_pattern_tensors,
        ),
        *(
            build_head_spec(endpoint, "reference")
            for name, endpoint in ENDPOINTS.items()
            if name != "formation_probability"  # the paper's is a network
        ),
        ModelSpec(
            name=FORMATION_NET,
            kind="formation-net",
            face="reference",
            endpoint=ENDPOINTS["formation_probability"],
            train=train_formation_net,
            network=ReferenceFormationNet,
            has_sizes=True,
            settings=TrainingSettings(
                optimizer="adam", schedule="constant", batch_size=64, max_epochs=60, patience=6
            ),
            tensors=build_formation_tensors,
        ),
        ModelSpec(
            name=REFERENCE_SYMMETRY_MODEL,
            kind="symmetry",
            face="reference",
            train=train_symmetry,
            network=ReferenceSymmetryNet,
            has_sizes=True,
            settings=TrainingSettings(
                optimizer="adamax", schedule="constant", batch_size=128, max_epochs=12, patience=4
            ),
            tensors=partial(build_symmetry_tensors, face="reference"),
        ),
    )
}  # fmt: skip
"""Models by name, in the order in which they build on each other."""

STANDARD_MODELS = tuple(name for name, spec in MODELS.items() if spec.face == "standard")
"""Models that `matlode train` makes unless others are named."""


def list_models(endpoints: Iterable[Endpoint]) -> dict[str, ModelSpec]:
    """MODELS, and the heads of those ``endpoints`` that are a user's own, in either face."""
    own = [endpoint for endpoint in endpoints if endpoint.name not in ENDPOINTS]
    faces: tuple[Face, ...] = ("standard", "reference")
    heads = [build_head_spec(endpoint, face) for face in faces for endpoint in own]
    return {**MODELS, **{spec.name: spec for spec in heads}}
