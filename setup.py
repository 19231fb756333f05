"""Installation. Each requirement says why it is here; `constraints.txt` pins the set that was tested together."""

from setuptools import find_packages, setup

REQUIREMENTS = [
    "torch>=2.6",  # tensors, autograd, distributed
    "deepspeed>=0.16",  # ZeRO, offload, multi-node launcher
    "transformers>=5.0",  # T5 backbones and their folder format
    "tokenizers>=0.21",  # trains a tokenizer on the corpus where none is given
    "safetensors>=0.4",  # weights on disk without pickle
    "webdataset>=1.0",  # writes and reads the tar shards
    "torch-geometric>=2.6",  # LightGCN
    "faiss-cpu>=1.9",  # catalogue index; launch/README.md says how the `gpu` extra takes its place
    "tensorboard>=2.17",  # watching a run
    "polars>=1.20",  # tables of raw logs
    "pyarrow>=17",  # Parquet
    "numpy>=1.26",
    "pydantic>=2.9",  # validation of configs
    "pyyaml>=6.0",  # config files
    "annotated-types>=0.6",  # the bounds in config dataclasses, for error messages
    "typing-extensions>=4.7",  # Self and override before Python 3.12
    "huggingface-hub>=1.0",  # transformers' error for a damaged backbone config
    "tqdm>=4.66",  # progress bars
    "bm25s>=0.2",  # text-match baseline of search
    "scipy>=1.11",  # sparse counts of channels, evidence and baselines; estimators of analyses
    "matplotlib>=3.8",  # figures of reports
    "scikit-learn>=1.4",  # separability, t-SNE and PCA of analyses
    "threadpoolctl>=3.1",  # one thread for their small products
    "optuna>=4.0",  # trials of a study, their storage and samplers
    "sqlalchemy>=2.0",  # errors of that storage
    "fsspec>=2024.6",  # shards and logs behind URLs
    "psutil>=5.9",  # memory that is free: of a host, for a baseline's table, of benchmarked commands
]
S3_REQUIREMENTS = ["s3fs>=2024.6"]  # fsspec's client of S3; gs:// needs gcsfs, hdfs:// pyarrow's libhdfs
RAY_REQUIREMENTS = ["ray[data]>=2.40"]  # preparation on a cluster
TEST_REQUIREMENTS = [
    *S3_REQUIREMENTS,
    *RAY_REQUIREMENTS,
    "moto[s3]>=5",  # an S3 server on loopback, with
    "flask>=2.2",
    "flask-cors>=4",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "triton>=3.2; sys_platform == 'linux'",  # the GPU kernels in its interpreter; GPU builds of torch bring it
    "ruff>=0.8",
    "mypy>=1.13",
    "types-PyYAML",
    "types-tqdm",
]

setup(
    name="gensr_dist",
    version="0.1.0",
    description="GenSR as a distributed trainer: one generative model for search and recommendation",
    python_requires=">=3.10",
    packages=find_packages(include=["gensr_dist", "gensr_dist.*"]),
    package_data={"gensr_dist": ["py.typed"]},
    install_requires=REQUIREMENTS,
    extras_require={
        "test": TEST_REQUIREMENTS,
        "gpu": ["faiss-gpu-cu12>=1.9"],
        "s3": S3_REQUIREMENTS,
        "ray": RAY_REQUIREMENTS,
    },
    entry_points={"console_scripts": ["gensr=gensr_dist.__main__:start"]},
)
