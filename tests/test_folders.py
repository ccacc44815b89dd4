"""Data sets from folders: what is read, how it is split, and what is said of what cannot be."""

import random
import struct
from gzip import compress

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_course.data import load_mnist
from mnist_course.folders import load_images

IMAGES, LABELS = load_mnist()[1]


def save(path, number: int, size=(28, 28), invert=False, mode='L') -> None:
    "One of MNIST's test images as a file."
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = IMAGES[number].numpy()
    image = Image.fromarray(255 - pixels if invert else pixels)
    image.resize(size).convert(mode).save(path)


def of_digit(digit: int, n: int) -> list[int]:
    return (LABELS == digit).nonzero().flatten()[:n].tolist()


@pytest.fixture
def shoes(tmp_path):
    "Three classes of twenty images, whose names have spaces and other scripts."
    for digit, name in ((1, 'a one'), (2, 'zwölf ½'), (3, 'さん')):
        for k, number in enumerate(of_digit(digit, 20)):
            save(tmp_path / name / f'{k:02}.png', number)
    return tmp_path


def test_each_subfolder_is_a_class_and_each_class_is_split_70_15_15(shoes):
    train, test = load_images(shoes)
    assert train.classes == test.classes == ('a one', 'zwölf ½', 'さん')
    assert train[0].shape == (51, 28, 28) and train[0].dtype == torch.uint8
    assert train[1].bincount().tolist() == [17] * 3 and test[1].bincount().tolist() == [3] * 3
    assert train.n_valid == 9 and train[1][-9:].bincount().tolist() == [3] * 3
    for images, labels in (train, test):
        for image, label in zip(images, labels):
            same = (IMAGES == image).all(2).all(1).nonzero()
            assert (LABELS[same] == label + 1).any()


def test_the_split_follows_the_seed_and_no_image_is_on_both_sides(shoes):
    first, again, other = (load_images(shoes, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[0][0], again[0][0]) and not torch.equal(first[0][0], other[0][0])
    both = torch.cat([first[0][0], first[1][0]]).flatten(1)
    assert len(both.unique(dim=0)) == 60


def test_a_folder_with_train_and_test_keeps_its_split(tmp_path):
    for part, digits in (('Training', 8), ('test', 3)):
        for digit in (0, 7):
            for k, number in enumerate(of_digit(digit, digits)):
                save(tmp_path / part / str(digit) / f'{k}.png', number)
    train, test = load_images(tmp_path)
    assert len(train[1]) == 16 and train.n_valid == 2 and len(test[1]) == 6
    assert test.classes == ('0', '7')
    for k, number in enumerate(of_digit(0, 2)):
        save(tmp_path / 'val' / '0' / f'{k}.png', number)
    assert load_images(tmp_path)[0].n_valid == 2
    assert len(load_images(tmp_path)[0][1]) == 18


def test_what_follows_the_last_underscore_is_the_class(tmp_path):
    for k in range(80):
        save(tmp_path / f'scan_{k}_{LABELS[k]}.png', k)
    (tmp_path / 'notes.txt').write_text('not an image')
    train, test = load_images(tmp_path)
    assert train.classes == tuple('0123456789') and len(train[1]) + len(test[1]) == 80


def test_images_of_any_size_mode_and_polarity_have_the_form_of_mnist(tmp_path, capsys):
    modes = ['L', 'RGB', 'RGBA', 'P', '1', 'LA', 'CMYK']
    for k, number in enumerate(of_digit(1, 14) + of_digit(0, 14)):
        mode = modes[k % 7]
        size = (30 + 20 * (k % 5), 90)
        kind = 'tif' if mode == 'CMYK' else 'png'
        save(tmp_path / str(k // 14) / f'{k}.{kind}', number, size, invert=True, mode=mode)
    train, _ = load_images(tmp_path)
    assert train[0].shape[1:] == (28, 28) and train[0][:, 0].float().mean() < 20
    assert train[0].amax((1, 2)).min() > 150
    assert 'inverted' in capsys.readouterr().out


def test_what_cannot_be_read_is_named_and_the_rest_is_used(shoes):
    (shoes / 'a one' / 'broken.png').write_bytes(b'no image')
    (shoes / 'さん' / 'empty.jpg').write_bytes(b'')
    said = []
    train, test = load_images(shoes, report=said.append)
    assert len(train[1]) + len(test[1]) == 60
    assert len(said) == 1 and said[0].startswith('2 of 62 images cannot be read')
    assert 'broken.png' in said[0] and 'empty.jpg' in said[0]


def test_a_class_of_two_images_is_learned_from_and_tested(shoes):
    for k, number in enumerate(of_digit(9, 2)):
        save(shoes / 'rare' / f'{k}.png', number)
    train, test = load_images(shoes)
    rare = train.classes.index('rare')
    assert (train[1] == rare).sum() == 1 and (test[1] == rare).sum() == 1
    assert not (train[1][-train.n_valid :] == rare).any()


def complaint(folder) -> str:
    with pytest.raises((ValueError, OSError)) as caught:
        load_images(folder)
    return str(caught.value)


def test_a_folder_that_is_no_data_set_gets_a_sentence(tmp_path):
    assert 'there is no folder' in complaint(tmp_path / 'missing')
    assert 'no images with a class' in complaint(tmp_path)
    save(tmp_path / 'cats' / '1.png', 1)
    assert 'one class' in complaint(tmp_path)
    for k in range(63):
        save(tmp_path / f'class {k}' / '1.png', k)
    assert '64 classes' in complaint(tmp_path)


def test_unreadable_images_alone_are_no_data_set(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
        (tmp_path / name / '1.png').write_bytes(b'no image')
    assert 'none of the images' in complaint(tmp_path)


def test_a_class_that_occurs_in_the_test_part_only_is_refused(tmp_path):
    for part, names in (('train', 'ab'), ('test', 'abc')):
        for name in names:
            for k in range(3):
                save(tmp_path / part / name / f'{k}.png', k)
    assert "nothing to learn 'c' from" in complaint(tmp_path)


def test_sixty_two_classes_are_read(tmp_path):
    for k in range(62):
        for n in range(3):
            save(tmp_path / f'{k:02}' / f'{n}.png', k + n)
    train, test = load_images(tmp_path)
    assert len(train.classes) == 62 and len(test[1]) == 62 and train.n_valid == 62


def idx(values: torch.Tensor) -> bytes:
    head = struct.pack(f'>BBBB{values.dim()}I', 0, 0, 8, values.dim(), *values.shape)
    return head + values.to(torch.uint8).numpy().tobytes()


def save_idx(folder, prefix: str, images, labels, packed=False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, values in (('images-idx3', images), ('labels-idx1', labels)):
        raw = idx(values)
        name = f'{prefix}-{kind}-ubyte' + ('.gz' if packed else '')
        (folder / name).write_bytes(compress(raw) if packed else raw)


@pytest.mark.parametrize('packed', [False, True])
def test_files_in_the_form_of_mnist_are_read_where_torchvision_puts_them(tmp_path, packed):
    raw = tmp_path / 'FashionMNIST' / 'raw'
    save_idx(raw, 'train', IMAGES[:120], LABELS[:120], packed)
    save_idx(raw, 't10k', IMAGES[120:150], LABELS[120:150], packed)
    train, test = load_images(tmp_path)
    assert train.classes[9] == 'ankle boot' and train.n_valid == 10
    assert torch.equal(train[0], IMAGES[:120]) and torch.equal(test[1], LABELS[120:150])


def test_emnist_is_turned_upright_and_its_letters_have_their_names(tmp_path):
    labels = torch.arange(40) % 3 + 1
    for part in ('train', 'test'):
        save_idx(tmp_path, f'emnist-letters-{part}', IMAGES[:40].transpose(1, 2), labels)
    train, _ = load_images(tmp_path)
    assert train.classes == ('a', 'b', 'c') and torch.equal(train[0], IMAGES[:40])
    (tmp_path / 'emnist-letters-mapping.txt').write_text('1 65 97\n2 66 98\n3 67 99\n')
    assert load_images(tmp_path)[0].classes == ('A/a', 'B/b', 'C/c')
    (tmp_path / 'emnist-letters-mapping.txt').write_text('1 sixty-five\n')
    assert 'mapping.txt is damaged' in complaint(tmp_path)


def test_damaged_files_in_the_form_of_mnist_get_a_sentence(tmp_path):
    save_idx(tmp_path, 'train', IMAGES[:20], LABELS[:20])
    save_idx(tmp_path, 't10k', IMAGES[:20], LABELS[:20])
    file = tmp_path / 'train-images-idx3-ubyte'
    whole = file.read_bytes()
    chance = random.Random(1)
    for length in [0, 3, 15, *(chance.randrange(len(whole)) for _ in range(5))]:
        file.write_bytes(whole[:length])
        assert 'damaged' in complaint(tmp_path)
    file.write_bytes(idx(IMAGES[:19]))
    assert 'do not belong together' in complaint(tmp_path)
    (tmp_path / 'train-labels-idx1-ubyte').unlink()
    assert 'no labels' in complaint(tmp_path)


def test_a_tall_image_keeps_its_proportions(tmp_path):
    for name in 'ab':
        for k in range(3):
            path = tmp_path / name / f'{k}.png'
            path.parent.mkdir(exist_ok=True)
            tall = np.zeros((84, 21), np.uint8)
            tall[:, 6:15] = 255
            Image.fromarray(tall).save(path)
    columns = load_images(tmp_path)[0][0][0].amax(0)
    assert (columns > 100).sum() == 3
