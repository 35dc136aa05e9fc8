"""Which commands exist; command path = file path."""

from __future__ import annotations

import typer

from facekit.cli import (
    basis,
    calibrate,
    distill,
    doctor,
    eval,
    eval_albedo,
    eval_all,
    eval_capture,
    eval_dense,
    eval_distance,
    eval_gates,
    eval_images,
    eval_landmarks,
    eval_motion,
    eval_networks,
    eval_posterior,
    eval_scans,
    eval_sets,
    eval_solvers,
    fit,
    label,
    landmarks,
    models,
    samples,
    sfm,
    simulate,
    simulate_stage,
    track,
    train,
)


def register(app: typer.Typer) -> None:
    """Add every command to the root application."""
    app.command("samples")(samples.samples)
    app.command("fit")(fit.fit)
    app.command("landmarks")(landmarks.landmarks)
    app.command("track")(track.track)
    app.command("calibrate")(calibrate.calibrate)
    simulate_stage.register(simulate.app)
    app.add_typer(simulate.app, name="simulate")
    app.command("sfm")(sfm.sfm)
    app.add_typer(basis.app, name="basis")
    eval_landmarks.register(eval.app)
    eval_scans.register(eval.app)
    eval_dense.register(eval.app)
    eval_gates.register(eval.app)
    eval_posterior.register(eval.app)
    eval_sets.register(eval.app)
    eval_networks.register(eval.app)
    eval_motion.register(eval.app)
    eval_solvers.register(eval.app)
    eval_all.register(eval.app)
    eval_images.register(eval.app)
    eval_distance.register(eval.app)
    eval_albedo.register(eval.app)
    eval_capture.register(eval.app)
    app.add_typer(eval.app, name="eval")
    app.command("label")(label.label)
    app.command("train")(train.train)
    app.command("distill")(distill.distill)
    app.command("relabel")(train.relabel)
    app.command("renders")(train.renders)
    app.add_typer(models.app, name="models")
    app.command("doctor")(doctor.doctor)
