"""The published HyenaDNA models: their names, where they are on the Hugging Face hub, and what their files must be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicModel:
    """A published HyenaDNA model.

    Attributes:
        name: What a person types.
        repository: Where it is on the Hugging Face hub.
        revision: The pinned commit, in full.
        sha256: Of model.safetensors at that commit.
        megabytes: Size of model.safetensors (10^6 bytes), as the hub lists it.
        d_model: Width of the embeddings.
        n_layer: Number of blocks.
        l_max: Longest trained input, in tokens.
    """

    name: str
    repository: str
    revision: str
    sha256: str
    megabytes: float
    d_model: int
    n_layer: int
    l_max: int


# Commits and checksums were read in public sources, not taken from a download: the hub's own pages of the repositories
# (commit lists, file trees, the "Git LFS Details" of model.safetensors) and public projects that pin the same commits.
# Each commit is given in full by two or more of these. Each checksum is on the hub's page of the file; only that of
# tiny-16k-d128 is not: it is pinned in one public test suite, whose other three checksums equal those on the pages.
_MODELS = (
    PublicModel(
        name="hyenadna-tiny-1k",
        repository="LongSafari/hyenadna-tiny-1k-seqlen-hf",
        revision="e8c1effa8673814e257e627d2e1eda9ea5a373f6",
        sha256="5ce2146c21e9c4baa6bddc4998fd3d029903ae84a563bf80218644082194a12d",
        megabytes=1.81,
        d_model=128,
        n_layer=2,
        l_max=1_026,
    ),
    PublicModel(
        name="hyenadna-tiny-1k-d256",
        repository="LongSafari/hyenadna-tiny-1k-seqlen-d256-hf",
        revision="6036d4e144922b44470294f510cbfd2539ba3b7e",
        sha256="81c15c4042d5fae646f00b429b76c65644cdbe88aa7e98b61aa781c84ff09031",
        megabytes=6.64,
        d_model=256,
        n_layer=2,
        l_max=1_026,
    ),
    PublicModel(
        name="hyenadna-tiny-16k-d128",
        repository="LongSafari/hyenadna-tiny-16k-seqlen-d128-hf",
        revision="d79fa37e2cd62dd338103c630f95be8f90812d46",
        sha256="9b30dba3d2d801c305d96cc4ac6229f1d6ce61567871e0b58754633ad764bca8",
        megabytes=2.55,
        d_model=128,
        n_layer=2,
        l_max=16_386,
    ),
    PublicModel(
        name="hyenadna-small-32k",
        repository="LongSafari/hyenadna-small-32k-seqlen-hf",
        revision="8fe770c78eb13fe33bf81501612faeddf4d6f331",
        sha256="b7a1c9479248edf27691b189bb6657256f1705e560cadc64d6431633932cafa1",
        megabytes=16.3,
        d_model=256,
        n_layer=4,
        l_max=32_770,
    ),
    PublicModel(
        name="hyenadna-medium-160k",
        repository="LongSafari/hyenadna-medium-160k-seqlen-hf",
        revision="7ebf71773d22c0ede2cc55cb2be15ee8c289e1ce",
        sha256="16685b36caf5d144da391f1b540ed47e89d79b3efd38899325492f174b8e852a",
        megabytes=57.0,
        d_model=256,
        n_layer=8,
        l_max=160_002,
    ),
    PublicModel(
        name="hyenadna-medium-450k",
        repository="LongSafari/hyenadna-medium-450k-seqlen-hf",
        revision="42dedd4d374eac0fb8168549e546a3472fbd27ae",
        sha256="3a4e6386b1e469130e7fd2e9aab2afa3d71ba5bfa58a19b284d13e4317cc25cb",
        megabytes=113.0,
        d_model=256,
        n_layer=8,
        l_max=450_002,
    ),
    PublicModel(
        name="hyenadna-large-1m",
        repository="LongSafari/hyenadna-large-1m-seqlen-hf",
        revision="0a629abf9c7f85b4ec9aa6a1aefa3adcf1907446",
        sha256="deafb53209bfafb314d14bd81108546a34d473c07ed7ab7a355674376b56ad12",
        megabytes=218.0,
        d_model=256,
        n_layer=8,
        l_max=1_000_002,
    ),
)
PUBLIC_MODELS = {model.name: model for model in _MODELS}
"""The public models by name, from the smallest to the largest context."""
