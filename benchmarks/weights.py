"""Train the weights that ship with the package: `python benchmarks/weights.py
[course|finder|handwriting]`, three hours on two cores.

course_model.pth is what `mnist_train` leaves, for the pages that teach with it. finder.pth finds
digits on pages: it learns from pages that a program draws with training digits, and a training
that was stopped goes on where it was. mnist_model.pth is what `predict` uses: trained by the
recipes `HANDWRITING` and `CALM` of 12b_doubt on MNIST, on images of no digit, and on digits
that the finder cut out of drawn pages. The temperature and the confidence below which it doubts
are chosen on validation images; the test set is opened once, at the end, and its result kept in
the file's header."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

SEED = 42


def course(path: Path) -> None:
    "What `mnist_train` leaves, without any option."
    from mnist_course.cli import mnist_train
    from mnist_course.files import atomic_path

    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            status = mnist_train(['--seed', str(SEED)])
        finally:
            os.chdir(here)
        if status:
            sys.exit(status)
        with atomic_path(path) as p:
            p.write_bytes((Path(folder) / 'mnist_model.pth').read_bytes())


PAGES = 24_000  # drawn, for the digits on them: a quarter of an hour on two cores


def some_page_digits(seed: int, pages: int) -> tuple:
    "Digits that the finder cuts out of drawn pages: arrays, since they travel between processes."
    import torch

    from mnist_course.canvas import Writer
    from mnist_course.data import load_mnist, split
    from mnist_course.finder import pretrained_finder
    from mnist_course.page_digits import page_digits

    torch.set_num_threads(1)
    images, labels = split(load_mnist()[0])[0]
    found, names = page_digits(
        pretrained_finder(), Writer(images.numpy(), labels.numpy()), pages, seed=seed
    )
    return found.numpy(), names.numpy()


def all_page_digits() -> tuple:
    """The same from `PAGES` pages, drawn by a process a core: images (N,28,28) uint8 and labels
    (N,), -1 for no digit."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    import torch
    from tqdm import tqdm

    def joined(arrays):
        return torch.cat([torch.from_numpy(array) for array in arrays])

    parts = 60
    each = PAGES // parts
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context('spawn')) as pool:
        jobs = [pool.submit(some_page_digits, SEED + part, each) for part in range(parts)]
        done = [job.result() for job in tqdm(jobs, unit='part', leave=False)]
    images, labels = zip(*done)
    return joined(images), joined(labels)


def handwriting(path: Path, seed: int = SEED) -> None:
    "The network that reads people's own digits, and doubts the rest."
    from dataclasses import asdict

    import torch

    from mnist_course import robustness as r
    from mnist_course.architectures import create_model
    from mnist_course.data import load_mnist, split
    from mnist_course.evaluation import evaluate
    from mnist_course.training import fit, save_model

    known, test = load_mnist()
    train, valid = split(known)
    others, found = r.with_outliers(train, r.N_OTHERS), all_page_digits()
    digits_and_others = torch.cat([others[0], found[0]]), torch.cat([others[1], found[1]])
    torch.manual_seed(seed)
    model = create_model(r.HANDWRITING.model)
    history = fit(model, digits_and_others, valid, r.HANDWRITING, seed, bar=True)
    calmly = fit(model, digits_and_others, valid, r.CALM, seed + 1, bar=True)
    history += [{**row, 'epoch': row['epoch'] + r.HANDWRITING.epochs} for row in calmly]
    model.cpu()
    temperature = r.best_temperature(model, valid)
    model = r.temperature_scale(model, temperature)
    result = evaluate(model, test)
    save_model(
        model,
        path,
        r.HANDWRITING,
        calm=asdict(r.CALM),
        seed=seed,
        others=r.N_OTHERS,
        page_digits=len(found[0]),
        test_accuracy=result.accuracy,
        history=history,
        temperature=temperature,
        doubt=r.threshold_at_fpr(model, valid),
    )
    print(result)


STAGES = (
    (32, 10_900, 4e-3),
    (16, 7_000, 1.5e-3),
)  # pages in a batch, batches, the highest learning rate


def finder(path: Path) -> None:
    "The network that finds digits on a page."
    from mnist_course.canvas import Writer
    from mnist_course.data import load_mnist, split
    from mnist_course.finder_training import mean_iou, save_finder, train_finder

    train, valid = split(load_mnist()[0])
    writer, others = (Writer(images.numpy(), labels.numpy()) for images, labels in (train, valid))
    workers = max(1, (os.cpu_count() or 2) - 1)
    model, losses = None, [0.0]
    checkpoints = [
        Path(__file__).with_name(f'finder_checkpoint_{stage}.pth') for stage in range(len(STAGES))
    ]
    for stage, ((bs, steps, lr), checkpoint) in enumerate(zip(STAGES, checkpoints)):
        model, losses = train_finder(
            writer,
            steps,
            start=model,
            bs=bs,
            seed=3 + stage,
            lr=lr,
            workers=workers,
            checkpoint=checkpoint,
            bar=True,
        )
    result = mean_iou(model, others, 20)
    save_finder(
        model,
        path,
        steps=sum(steps for _, steps, _ in STAGES),
        pages=sum(bs * steps for bs, steps, _ in STAGES),
        seed=3,
        loss=losses[-1],
        iou=result,
    )
    for checkpoint in checkpoints:
        checkpoint.unlink(missing_ok=True)
    print(
        'IoU on validation pages of ink, cores and other writing:',
        ', '.join(f'{share:.3f}' for share in result),
    )


FILES = {
    'course': ('course_model.pth', course),
    'finder': ('finder.pth', finder),
    'handwriting': ('mnist_model.pth', handwriting),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('which', nargs='?', choices=list(FILES), help='all without')
    args = parser.parse_args()
    from mnist_course.files import ASSETS

    for which in [args.which] if args.which else FILES:
        name, train = FILES[which]
        train(ASSETS / name)
        print(f'{ASSETS.name}/{name} is renewed')


if __name__ == '__main__':
    main()
