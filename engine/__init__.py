"""SinGAN-GIF: learn one clip, make new ones.

    from sgif.engine import load_run, preset_config, read_clip, train

    run = train(read_clip("clip.gif"), "runs/clip", preset_config("draft"))
    clips = run.sample(8, frames=32)   # [8, 3, 32, H, W] in [-1, 1]

Names are imported when they are first used, so that a command line can be parsed without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .applications.animate import animate, animate_frames
    from .applications.edit import edit_frames
    from .applications.inpaint import inpaint_frames
    from .applications.superres import superres, superres_config, superres_frames
    from .clip import Clip, ClipError, frames_from_tensor, read_clip
    from .clip_writer import write_clip
    from .config import ConfigError, TrainConfig, preset_config
    from .dry_run import TrainingPlan, plan_training
    from .limits import ReadLimits
    from .masks import read_mask
    from .metrics.evaluate import Evaluation, evaluate, evaluate_run
    from .metrics.features import load_features
    from .report.make import make_report
    from .runs import Run, load_run
    from .scale_session import TrainingStopped
    from .stills import read_still
    from .storage import RunError
    from .study.make import make_study
    from .study.score import score_study
    from .tensorboard_log import TensorBoardLog
    from .trainer import train
    from .trouble import UntrainableError
    from .verify import verify_run
    from .watch import RunProgress, watch_run

_HOME = {
    "animate": "applications.animate", "animate_frames": "applications.animate", "read_still": "stills",
    "superres": "applications.superres", "superres_config": "applications.superres",
    "superres_frames": "applications.superres",
    "Evaluation": "metrics.evaluate", "evaluate": "metrics.evaluate", "evaluate_run": "metrics.evaluate",
    "load_features": "metrics.features",
    "Clip": "clip", "ClipError": "clip", "ConfigError": "config", "Run": "runs", "RunError": "storage",
    "TrainConfig": "config", "TrainingStopped": "scale_session", "edit_frames": "applications.edit",
    "frames_from_tensor": "clip", "inpaint_frames": "applications.inpaint", "load_run": "runs",
    "preset_config": "config", "ReadLimits": "limits", "read_clip": "clip", "read_mask": "masks", "train": "trainer",
    "make_report": "report.make", "make_study": "study.make", "score_study": "study.score", "verify_run": "verify",
    "RunProgress": "watch", "watch_run": "watch", "TrainingPlan": "dry_run", "plan_training": "dry_run",
    "TensorBoardLog": "tensorboard_log", "UntrainableError": "trouble", "write_clip": "clip_writer",
}

__all__ = [
    "Clip",
    "ClipError",
    "ConfigError",
    "Evaluation",
    "ReadLimits",
    "Run",
    "RunError",
    "RunProgress",
    "TensorBoardLog",
    "TrainConfig",
    "TrainingPlan",
    "TrainingStopped",
    "UntrainableError",
    "animate",
    "animate_frames",
    "edit_frames",
    "evaluate",
    "evaluate_run",
    "frames_from_tensor",
    "inpaint_frames",
    "load_features",
    "load_run",
    "make_report",
    "make_study",
    "plan_training",
    "preset_config",
    "read_clip",
    "read_mask",
    "read_still",
    "score_study",
    "superres",
    "superres_config",
    "superres_frames",
    "train",
    "verify_run",
    "watch_run",
    "write_clip",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
