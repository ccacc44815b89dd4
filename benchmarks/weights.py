"""Train the weights that ship with the package: `python benchmarks/weights.py [course|handwriting]`, some twelve minutes for both on two cores.

course_model.pth is what `mnist_train` leaves, for the pages 04 and 05. mnist_model.pth is what `predict` uses: trained by the recipe
`HANDWRITING` of 09_robustness, with augmentation, pictures of no digit and one cycle. The temperature and the confidence below which it
doubts are chosen on validation pictures; the test set is opened once, at the end, and its result kept in the file's header.
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

SEED = 42


def course(path: Path) -> None:
    "What `mnist_train` leaves, without any option."
    from mnist_course.cli import mnist_train
    from mnist_course.data import atomic_path
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try: status = mnist_train(['--seed', str(SEED)])
        finally: os.chdir(here)
        if status: sys.exit(status)
        with atomic_path(path) as p: p.write_bytes((Path(folder)/'mnist_model.pth').read_bytes())


def handwriting(path: Path) -> None:
    "The network that reads people's own digits, and doubts the rest."
    import torch

    from mnist_course.data import load_mnist, split
    from mnist_course.evaluation import evaluate
    from mnist_course.model import MnistCNN
    from mnist_course.robustness import HANDWRITING as RECIPE
    from mnist_course.robustness import N_OTHERS, at_temperature, best_temperature, doubt_below, with_doubt
    from mnist_course.training import fit, save_model
    known, test = load_mnist()
    train, valid = split(known)
    torch.manual_seed(SEED)
    model = MnistCNN(dropout=RECIPE.dropout)
    history = fit(model, with_doubt(train, N_OTHERS), valid, RECIPE, SEED, bar=True)
    temperature = best_temperature(model, valid)
    at_temperature(model, temperature)
    result = evaluate(model, test)
    save_model(model, path, RECIPE, seed=SEED, others=N_OTHERS, test_accuracy=result.accuracy, history=history,
               temperature=temperature, doubt=doubt_below(model, valid))
    print(result)


FILES = {'course': ('course_model.pth', course), 'handwriting': ('mnist_model.pth', handwriting)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('which', nargs='?', choices=list(FILES), help='both without')
    args = parser.parse_args()
    os.environ.setdefault('THP_MEM_ALLOC_ENABLE', '1')  # large pages of memory: before PyTorch is loaded
    from mnist_course.data import ASSETS
    for which in [args.which] if args.which else FILES:
        name, train = FILES[which]
        train(ASSETS/name)
        print(f'{ASSETS.name}/{name} is renewed')


if __name__ == '__main__': main()
